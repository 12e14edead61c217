// Scores on three components as colours: red, green and blue, each from its lowest to its highest.

/**
 * What a layer's part of the server's numbers is: scores of each patch on three components, and the
 * lowest and highest of each.
 * @param {Packed} packed
 * @param {number} layer
 */
export function componentsAt({ arrays, shapes, facts }, layer) {
  const size = shapes.scores[1] * 3;
  return {
    scores: arrays.scores.subarray(layer * size, (layer + 1) * size),
    limits: arrays.limits.subarray(layer * 6, (layer + 1) * 6),
    explained: /** @type {number[]} */ (facts.explained[layer]),
  };
}

/**
 * A picture of one pixel a patch.
 * @param {{ scores: Float32Array, limits: Float32Array }} found of each patch three scores; the lowest
 *   of each component, then the highest
 * @param {Pair} grid
 */
export function componentImage({ scores, limits }, [rows, columns]) {
  const image = new ImageData(columns, rows);
  for (let patch = 0; patch < rows * columns; patch += 1) {
    for (let at = 0; at < 3; at += 1) {
      const [low, high] = [limits[at], limits[3 + at]];
      image.data[patch * 4 + at] = Math.round((255 * (scores[patch * 3 + at] - low)) / (high - low || 1));
    }
    image.data[patch * 4 + 3] = 255;
  }
  return image;
}

/**
 * Lay a picture of one pixel a patch over what is drawn already.
 * @param {Painter} painter
 * @param {ImageData} image
 * @param {number} width
 * @param {number} height
 * @param {{ opacity: number, smooth: boolean }} how
 */
export function layPatches(painter, image, width, height, { opacity, smooth }) {
  const small = new OffscreenCanvas(image.width, image.height);
  small.getContext("2d")?.putImageData(image, 0, 0);
  painter.save();
  painter.globalAlpha = opacity;
  painter.imageSmoothingEnabled = smooth;
  painter.drawImage(small, 0, 0, width, height);
  painter.restore();
}

/**
 * Scores as rows for a figure's `table`: places count from 1.
 * @param {Float32Array} scores
 * @param {Pair} grid
 */
export function componentTable(scores, [, columns]) {
  const rows = Array.from({ length: scores.length / 3 }, (_, at) => [
    Math.floor(at / columns) + 1,
    (at % columns) + 1,
    ...scores.subarray(at * 3, at * 3 + 3),
  ]);
  return [["row", "column", "component 1", "component 2", "component 3"], ...rows];
}
