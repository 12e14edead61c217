// What is asked of the server follows the pointer only where it rests: a sweep asks once.

const MILLISECONDS = 150;

/**
 * A function that says whether a token has been pointed at for a while; if not yet, `store` will tell.
 * @param {Store} store
 */
export function createRest(store) {
  let rested = null;
  let waiting = null;
  let timer = 0;
  return (token) => {
    if (token !== waiting) {
      waiting = token;
      clearTimeout(timer);
      timer = setTimeout(() => {
        rested = token;
        store.set({ numbers: store.get().numbers + 1 });
      }, MILLISECONDS);
    }
    return token === rested;
  };
}
