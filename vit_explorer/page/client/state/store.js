// What the page shows, in one place: every view reads it, and linked views follow one another by it.

import { beforeEffects, effect, isTracking, Source } from "../base/effects.js";

/**
 * @param {State} initial
 * @returns {RootStore}
 */
export function createStore(initial) {
  let state = { ...initial };
  const listeners = [];
  const effects = [];
  const sources = new Map();
  let changed = new Set();

  /** What effects are told to have read of the state. */
  function track(key) {
    if (!sources.has(key)) sources.set(key, new Source());
    sources.get(key).track();
  }

  // The state as effects see it, which records what they read.
  const watched = new Proxy(/** @type {State} */ ({}), {
    get: (_, key) => {
      track(key);
      return state[key];
    },
    has: (_, key) => key in state,
    ownKeys: () => Reflect.ownKeys(state),
    getOwnPropertyDescriptor: (_, key) => {
      track(key);
      return { value: state[key], enumerable: true, configurable: true };
    },
  });

  function tell() {
    const keys = changed;
    changed = new Set();
    for (const { keys: wanted, listener } of [...listeners]) {
      if (wanted.some((key) => keys.has(key))) listener(state);
    }
  }

  return {
    get: () => (isTracking() ? watched : state),

    /** Change some values; listeners run once in the next frame, however many changes it gathered. */
    set(values) {
      for (const [key, value] of Object.entries(values)) {
        if (Object.is(state[key], value)) continue;
        state = { ...state, [key]: value };
        changed.add(key);
        sources.get(key)?.changed();
      }
      if (changed.size) beforeEffects(tell);
    },

    /** Call `listener` where one of the values has changed: for what follows a change, not to draw. */
    on(keys, listener) {
      listeners.push({ keys, listener });
    },

    /** Draw by `work(state)`, now and whenever what it read has changed. */
    effect(work) {
      effects.push(effect(() => work(watched)));
    },

    /** A function that forgets the listeners and effects added after this call. */
    mark() {
      const [count, before] = [listeners.length, effects.length];
      return () => {
        listeners.splice(count);
        for (const end of effects.splice(before)) end();
      };
    },

    /** Run every listener whose values are there, for a page that was built anew. */
    announce() {
      changed = new Set(Object.keys(state).filter((key) => state[key] !== null));
      beforeEffects(tell);
    },
  };
}

/**
 * A state in which some values are others; what reads it is told to read the rest of the state alone.
 * @template {object} T
 * @param {T} state
 * @param {object} changes
 * @returns {any}
 */
export const withChanges = (state, changes) => Object.assign(Object.create(state), changes);

/**
 * The store as something else sees it: `see(state)` in place of the state.
 * @param {Store} store
 * @param {(state: State) => State} see
 * @returns {Store}
 */
export const seenThrough = (store, see) => ({
  get: () => see(store.get()),
  set: store.set,
  on: (keys, listener) => store.on(keys, (state) => listener(see(state))),
  effect: (work) => store.effect((state) => work(see(state))),
});

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
