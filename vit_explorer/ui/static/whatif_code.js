// A change as Python.

import { headsOf } from "./effects.js";

/** Parts of a call: the heads as a tuple of pairs, and how patches go. */
export function headsCode(state) {
  const pairs = headsOf(state).map((pair) => `(${pair.join(", ")}),`);
  return { heads: `(${pairs.join(" ")})`, how: state.edit.how };
}

export function changeCode(state) {
  const { heads, how } = headsCode(state);
  const { patches } = state.edit;
  const { index } = state.result.target;
  return [
    `heads = ${heads}`,
    `patches = ${JSON.stringify(patches)}`,
    "found = vx.intervene(",
    `    model, picture, heads_off=heads, patches_off=patches, how="${how}", target=${index}`,
    ")",
    "print(found.target_before.probability, found.target_after.probability)",
    "print([(each.label, each.probability) for each in found.after])",
  ];
}
