// Code that makes the Attention view's map again.

import { fusionOf } from "../state/fusion.js";

const FUSED = { mean: ".mean(0)", max: ".amax(0)" };

/**
 * The pinned token's map: what the pointer is over is no part of a copy.
 * @param {State} state
 */
export function pythonOf(state) {
  const { mass } = state;
  const lines = state.rolled ? rolledLines(state) : layerLines(state);
  if (mass === 1) return lines;
  return [
    ...lines,
    "order = (-values).ravel().argsort(kind='stable')",
    `kept = int((values.ravel()[order].cumsum() < ${mass} * values.sum()).sum()) + 1`,
    "values.flat[order[kept:]] = 0",
  ];
}

/** @param {State} state */
function layerLines(state) {
  const { layer, direction, pinned, result } = state;
  const { grid, prefix } = result.model;
  const head = fusionOf(state);
  const patches = `${prefix.length}:`;
  const [row, column] = direction === "from" ? [pinned, patches] : [patches, pinned];
  return [
    `attention = vx.trace(model, picture).attention(${layer})  # (heads, tokens, tokens)`,
    `values = attention${FUSED[head] ?? `[${head}]`}[${row}, ${column}].reshape(${grid.join(", ")}).cpu().numpy()`,
  ];
}

/** @param {State} state */
function rolledLines(state) {
  const { layer, direction, pinned, result } = state;
  const { grid, prefix } = result.model;
  const from = direction === "from";
  return [
    "passed = vx.trace(model, picture)",
    "attentions = [",
    `    passed.attention(layer)${FUSED[fusionOf(state)]} for layer in range(${layer + 1})`,
    "]",
    "same = attentions[0].new_ones(len(attentions[0])).diag()",
    `mix = same[${pinned}]`,
    `for attention in ${from ? "reversed(attentions)" : "attentions"}:`,
    "    mixing = (attention + same) / (attention + same).sum(-1, keepdim=True)",
    `    mix = ${from ? "mix @ mixing" : "mixing @ mix"}`,
    `values = mix[${prefix.length}:].reshape(${grid.join(", ")}).cpu().numpy()`,
  ];
}

/**
 * The command knows the class token's whole row alone, and rollout through all layers.
 * @param {State} state
 */
export function commandOf(state) {
  const { layer, direction, mass, pinned, result, rolled } = state;
  const { model } = result;
  if (mass < 1) return null;
  if (direction !== "from" || model.prefix[pinned] !== "class") return null;
  if (model.pooling !== "class" || (rolled && layer !== model.depth - 1)) return null;
  const head = fusionOf(state);
  if (rolled) return ["--method", "rollout", "--option", `rollout.fusion=${head}`];
  return [
    ...["--method", "attention", "--option", `attention.layer=${layer}`],
    ...["--option", `attention.head=${head}`],
  ];
}
