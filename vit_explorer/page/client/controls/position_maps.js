// Every position's similarity to all others at once: one small map a position (ViT, figure 7).

import { fixed } from "../base/format.js";
import { t } from "../base/words.js";
import { tableFor } from "../maps/colours.js";
import { cellOf, extremePatch } from "../maps/geometry.js";
import { thumbnail } from "../maps/pixels.js";
import { zoomedToken } from "./patch_zoom.js";

// The colours of the ViT paper's figure, whatever the other maps wear.
export const POSITION_COLOURS = "viridis";
/** @type {Pair} */
export const COSINES = [-1, 1];
const SHARPEST = 300;

/**
 * Draw similarities of a grid's positions, (rows·columns)² values, a pixel each.
 * @param {HTMLCanvasElement} canvas
 * @param {any} similarities
 * @param {Pair} grid
 */
export function drawPositionMaps(canvas, similarities, [rows, columns], limits) {
  const count = rows * columns;
  canvas.width = columns * (columns + 1) - 1;
  canvas.height = rows * (rows + 1) - 1;
  // Shrunk cell by cell, thin lines between maps would come and go.
  canvas.classList.toggle("pixelated", canvas.width <= SHARPEST);
  const context = canvas.getContext("2d");
  for (let i = 0; i < count; i += 1) {
    const values = similarities.subarray(i * count, (i + 1) * count);
    const image = thumbnail(values, [rows, columns], tableFor(POSITION_COLOURS), limits);
    context.putImageData(
      image,
      (i % columns) * (columns + 1),
      Math.floor(i / columns) * (rows + 1),
    );
  }
}

/** The bar of a figure of cosines. */
export const positionBar = () => ({
  table: tableFor(POSITION_COLOURS),
  limits: COSINES,
  format: (value) => fixed(value, 0),
});

/**
 * One position's similarities; a prefix token has no place in the grid, so the middle stands in.
 * @param {State} state
 */
export function positionsOf(state) {
  const { model, positions } = state.result;
  const token = zoomedToken(state);
  const count = model.grid[0] * model.grid[1];
  const at = (token - model.prefix.length) * count;
  return { token, values: positions.values.subarray(at, at + count) };
}

/** Every position's similarity to every other, a line a pair; places count from 1. */
export function similarityTable(values, [rows, columns]) {
  const count = rows * columns;
  /** @param {number} patch */
  const place = (patch) => [Math.floor(patch / columns) + 1, (patch % columns) + 1];
  const pairs = Array.from(values, (value, at) => [
    ...place(Math.floor(at / count)),
    ...place(at % count),
    value,
  ]);
  return [["row", "column", "other row", "other column", "cosine"], ...pairs];
}

/**
 * Which positions are most and least like a patch's own, by their cosines, in words.
 * @param {Model} model
 * @param {number} token
 */
export function describeAlike(model, token, values) {
  const others = values.slice();
  others[token - model.prefix.length] = -2;
  const best = extremePatch(others, 0);
  const worst = extremePatch(values, 0, -1);
  /** @param {number} patch */
  const place = (patch) => cellOf(model, patch + model.prefix.length).map((at) => at + 1);
  const [row, column] = place(best);
  const [lowRow, lowColumn] = place(worst);
  const [value, low] = [values[best], values[worst]].map((one) => fixed(one, 2));
  return t("map.alike", { row, column, value, lowRow, lowColumn, low });
}
