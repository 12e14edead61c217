// What is asked of the server follows the pointer only where it rests: a sweep asks once.

import { Source } from "../base/effects.js";

const MILLISECONDS = 150;

/** A function that says whether a token has been pointed at for a while; effects hear when it has. */
export function createRest() {
  const source = new Source();
  let rested = null;
  let waiting = null;
  let timer = 0;
  return (token) => {
    source.track();
    if (token !== waiting) {
      waiting = token;
      clearTimeout(timer);
      timer = setTimeout(() => {
        rested = token;
        source.changed();
      }, MILLISECONDS);
    }
    return token === rested;
  };
}
