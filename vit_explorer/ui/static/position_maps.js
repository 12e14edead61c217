// Every position's similarity to all others at once: one small map a position (ViT, figure 7).

import { tableFor } from "./colours.js";
import { thumbnail } from "./pixels.js";

// The colours of the ViT paper's figure, whatever the other maps wear.
export const POSITION_COLOURS = "viridis";
const SHARPEST = 300;

/** Draw similarities of a grid's positions, (rows·columns)² values, a pixel each. */
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
