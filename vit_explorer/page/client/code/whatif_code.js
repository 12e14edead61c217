// A change as Python.

import { fieldOf } from "../base/outputs.js";
import { headsOf } from "../state/edit_answers.js";

/**
 * Parts of a call: the heads as a tuple of pairs, and how patches go.
 * @param {State} state
 */
export function headsCode(state) {
  const pairs = headsOf(state).map((pair) => `(${pair.join(", ")}),`);
  return { heads: `(${pairs.join(" ")})`, how: state.edit.how };
}

/** @param {State} state */
export function changeCode(state) {
  const { heads, how } = headsCode(state);
  const { patches } = state.edit;
  const { model, target } = state.result;
  const field = fieldOf(model);
  return [
    `heads = ${heads}`,
    `patches = ${JSON.stringify(patches)}`,
    "found = vx.intervene(",
    `    model, picture, heads_off=heads, patches_off=patches, how="${how}", target=${JSON.stringify(target.name)}`,
    ")",
    `print(found.target_before.${field}, found.target_after.${field})`,
    `print([(each.label, each.${field}) for each in found.after])`,
  ];
}
