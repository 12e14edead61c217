// The store as the second result sees it: the same pointer, layer and head, at the same place.

import { cellOf, startToken, tokenAt } from "../maps/geometry.js";
import { seenThrough, withChanges } from "./store.js";

/** Where a token's centre lies, as shares of the crop; and from there to another result's crop. */
function placeIn([row, column], from, to) {
  const place = [
    (row + 0.5) / from.model.grid[0],
    (column + 0.5) / from.model.grid[1],
  ];
  const samePicture = from.place.picture === to.place.picture;
  if (!samePicture || !from.box_known || !to.box_known) return place;
  return place.map((share, axis) => {
    const [start, end] = axis === 0 ? [1, 3] : [0, 2];
    const at = from.box[start] + share * (from.box[end] - from.box[start]);
    return (at - to.box[start]) / (to.box[end] - to.box[start]);
  });
}

/**
 * The token of `to` at the place of a token of `from`; a prefix token meets its namesake.
 * @param {number} token
 */
export function counterpart(token, from, to) {
  const cell = cellOf(from.model, token);
  if (!cell) {
    const index = to.model.prefix.indexOf(from.model.prefix[token]);
    return index < 0 ? startToken(to.model) : index;
  }
  const [row, column] = placeIn(cell, from, to).map((share, axis) => {
    const count = to.model.grid[axis];
    return Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  });
  return tokenAt(to.model, row, column);
}

/**
 * The layer as deep in a model of another depth.
 * @param {number} layer
 * @param {number} depth
 */
export function layerOf(layer, depth, otherDepth) {
  return depth < 2 ? otherDepth - 1 : Math.round((layer / (depth - 1)) * (otherDepth - 1));
}

/**
 * A store for views of `other`: what it reads is the second result's, what it sets reaches the
 * first. `twin` keeps which token was meant here, where grids of two sizes would move it.
 * @param {Store} store
 */
export function createTwin(store) {
  /** @param {State} state */
  function tokenHere(state, key) {
    const token = state[key];
    const [there, here] = state.twin[key] ?? [];
    if (token === null) return null;
    if (there === token || !state.other) return here;
    return counterpart(token, state.result, state.other.result);
  }

  /** @param {State} state */
  function see(state) {
    if (!state.other || !state.result) return withChanges(state, { result: null });
    const { model } = state.other.result;
    return withChanges(state, {
      ...state.other,
      hover: tokenHere(state, "hover"),
      pinned: tokenHere(state, "pinned"),
      layer: layerOf(state.layer, state.result.model.depth, model.depth),
      head: typeof state.head === "number" && state.head >= model.heads ? "mean" : state.head,
    });
  }

  function set(values) {
    const state = store.get();
    if (!state.other) return;
    const changes = {};
    const twin = { ...state.twin };
    for (const key of ["hover", "pinned"]) {
      if (!(key in values)) continue;
      const here = values[key];
      const there = here === null ? null : counterpart(here, state.other.result, state.result);
      changes[key] = there;
      twin[key] = [there, here];
    }
    if ("layer" in values) {
      const next = state.layer + Math.sign(values.layer - see(state).layer);
      changes.layer = Math.min(state.result.model.depth - 1, Math.max(0, next));
    }
    store.set({ ...changes, twin });
  }

  return { ...seenThrough(store, see), set };
}
