// Tokens and patches of one result: which token is where in the grid.

import { t } from "../base/words.js";

/** @param {Model} model */
export function patchCount(model) {
  return model.grid[0] * model.grid[1];
}

/**
 * Row and column (from 0) of a token, or null for a prefix token.
 * @param {Pick<Model, "grid" | "prefix">} model
 * @param {number} token
 * @returns {Pair | null}
 */
export function cellOf(model, token) {
  const patch = token - model.prefix.length;
  if (patch < 0) return null;
  return [Math.floor(patch / model.grid[1]), patch % model.grid[1]];
}

/**
 * A map's value in the middle of a token's cell, null for one without; stages have other grids.
 * @param {Model} model
 * @param {number} token
 */
export function valueAt(map, model, token) {
  const cell = cellOf(model, token);
  if (!cell) return null;
  const at = cell.map((place, axis) =>
    Math.floor(((place + 0.5) * map.grid[axis]) / model.grid[axis]),
  );
  return map.values[at[0] * map.grid[1] + at[1]];
}

/**
 * The cell of another grid over the same picture in which the middle of a grid's cell lies.
 * @param {number} index
 * @param {Pair} grid
 * @param {Pair} other
 * @returns {Pair}
 */
export function cellAt(index, [rows, columns], other) {
  const middle = [Math.floor(index / columns) + 0.5, (index % columns) + 0.5];
  const [row, column] = middle.map((at, axis) => Math.floor((at * other[axis]) / [rows, columns][axis]));
  return [row, column];
}

/** @param {Model} model */
export function tokenAt(model, row, column) {
  return model.prefix.length + row * model.grid[1] + column;
}

/** @param {Pick<Model, "grid" | "prefix">} model */
export function tokenName(model, token) {
  const cell = cellOf(model, token);
  if (cell) return t("token.patch", { row: cell[0] + 1, column: cell[1] + 1 });
  return prefixName(model.prefix[token]);
}

export function prefixName(name) {
  const [kind, number] = name.split(" ");
  return t(`token.${kind}`, { number });
}

/**
 * The token to start from: the first prefix token, or the middle patch where there is none.
 * @param {Model} model
 */
export function startToken(model) {
  if (model.prefix.length) return 0;
  return middleToken(model);
}

/** @param {Model} model */
export function middleToken(model) {
  return tokenAt(model, Math.floor(model.grid[0] / 2), Math.floor(model.grid[1] / 2));
}

/**
 * Move a token one step in the grid; from a prefix token, a step leads to the middle.
 * @param {Model} model
 * @param {number} token
 */
export function step(model, token, down, right) {
  const cell = cellOf(model, token);
  if (!cell) return middleToken(model);
  const [rows, columns] = model.grid;
  const row = Math.min(rows - 1, Math.max(0, cell[0] + down));
  const column = Math.min(columns - 1, Math.max(0, cell[1] + right));
  return tokenAt(model, row, column);
}

/** Index of the largest (or smallest) value among the patches of a token row. */
export function extremePatch(values, prefix, sign = 1) {
  let best = prefix;
  for (let token = prefix; token < values.length; token += 1) {
    if (values[token] * sign > values[best] * sign) best = token;
  }
  return best;
}
