// What the page shows, in one place: every view reads it, and linked views follow one another by it.

export function createStore(initial) {
  let state = { ...initial };
  const listeners = [];
  let changed = new Set();
  let scheduled = false;

  function flush() {
    scheduled = false;
    const keys = changed;
    changed = new Set();
    for (const { watched, listener } of [...listeners]) {
      if (watched.some((key) => keys.has(key))) listener(state);
    }
  }

  return {
    get: () => state,

    /** Change some values; listeners run once in the next frame, however many changes it gathered. */
    set(values) {
      for (const [key, value] of Object.entries(values)) {
        if (Object.is(state[key], value)) continue;
        state = { ...state, [key]: value };
        changed.add(key);
      }
      if (changed.size && !scheduled) {
        scheduled = true;
        requestAnimationFrame(flush);
      }
    },

    on(watched, listener) {
      listeners.push({ watched, listener });
    },

    /** A function that forgets the listeners added after this call. */
    mark() {
      const count = listeners.length;
      return () => listeners.splice(count);
    },

    /** Run every listener whose values are there, for a page that was built anew. */
    announce() {
      changed = new Set(Object.keys(state).filter((key) => state[key] !== null));
      if (!scheduled) requestAnimationFrame(flush);
      scheduled = true;
    },
  };
}

const SETTINGS_KEY = "vit-explorer";
/** @type {(keyof State)[]} */
const REMEMBERED = ["opacity", "colormap", "smooth", "whole", "shared", "methods", "theme", "language", "learnt"];

export function readSettings() {
  try {
    const saved = JSON.parse(localStorage.getItem(SETTINGS_KEY) ?? "{}");
    return Object.fromEntries(
      REMEMBERED.filter((key) => key in saved).map((key) => [key, saved[key]]),
    );
  } catch {
    return {}; // A browser that forbids storage, or a damaged entry: start from the defaults.
  }
}

/** @param {Store} store */
export function rememberSettings(store) {
  store.on(REMEMBERED, (state) => {
    const values = Object.fromEntries(REMEMBERED.map((key) => [key, state[key]]));
    try {
      localStorage.setItem(SETTINGS_KEY, JSON.stringify(values));
    } catch {
      return; // Storage is full or forbidden: the page works, it only forgets.
    }
  });
}

/**
 * The token whose row is shown: the one under the pointer, else the pinned one.
 * @param {Pick<State, "hover" | "pinned">} state
 */
export function queryToken(state) {
  return state.hover ?? state.pinned;
}
