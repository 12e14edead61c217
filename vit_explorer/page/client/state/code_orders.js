// What copied code is to make: a figure by its name, and what is chosen for it. The server writes it.

import { headsOf } from "./edit_answers.js";
import { directionOf, fusionOf } from "./fusion.js";

/**
 * A heatmap; `limits` are those of its colours where maps share a scale.
 * @param {Partial<Heatmap>} map
 * @param {State} state
 * @param {Pair} limits
 */
export const mapCode = ({ name, layer }, { opacity, colormap, smooth, whole, shared }, limits) => ({
  figure: "map",
  method: name,
  layer: layer ?? null,
  opacity,
  colormap,
  smooth,
  whole,
  limits: shared ? limits : null,
});

/**
 * The pinned token's attention: what the pointer is over is no part of a copy.
 * @param {State} state
 */
export const attentionCode = (state) => ({
  figure: "attention",
  layer: state.layer,
  head: fusionOf(state),
  token: state.pinned,
  direction: directionOf(state),
  rolled: state.rolled,
  mass: state.mass,
});

/**
 * The heads that are off, and how patches go.
 * @param {State} state
 */
export const editCode = (state) => ({ heads: headsOf(state), how: state.edit.how });
