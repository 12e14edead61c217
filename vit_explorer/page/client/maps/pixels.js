// A grid of values over a picture, pixel for pixel what `vit_explorer.render.overlay` makes.

const DIMMED = 0.4;

/** Which grid cells, with which weights, make each of `size` pixels (Pillow's bicubic, a = -0.5). */
function bicubicTaps(cells, size) {
  const scale = cells / size;
  const stretch = Math.max(scale, 1);
  const taps = [];
  for (let pixel = 0; pixel < size; pixel += 1) {
    const centre = (pixel + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * stretch + 0.5));
    const last = Math.min(cells, Math.floor(centre + 2 * stretch + 0.5));
    const weights = [];
    let total = 0;
    for (let cell = first; cell < last; cell += 1) {
      const weight = cubic((cell - centre + 0.5) / stretch);
      weights.push(weight);
      total += weight;
    }
    taps.push({ first, weights: weights.map((weight) => weight / total) });
  }
  return taps;
}

function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/** The smallest and the largest value. */
export function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/**
 * @param {Numbers} values
 * @param {Pair} grid
 * @param {number} width
 * @param {number} height
 */
function enlargeSmooth(values, [rows, columns], width, height) {
  const across = bicubicTaps(columns, width);
  const down = bicubicTaps(rows, height);
  const wide = new Float32Array(rows * width);
  for (let row = 0; row < rows; row += 1) {
    for (let x = 0; x < width; x += 1) {
      const { first, weights } = across[x];
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1)
        sum += weights[i] * values[row * columns + first + i];
      wide[row * width + x] = sum;
    }
  }
  const [low, high] = range(values);
  const result = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const { first, weights } = down[y];
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1) sum += weights[i] * wide[(first + i) * width + x];
      result[y * width + x] = Math.min(high, Math.max(low, sum));
    }
  }
  return result;
}

/**
 * @param {Numbers} values
 * @param {Pair} grid
 * @param {number} width
 * @param {number} height
 */
function enlargeBlocks(values, [rows, columns], width, height) {
  const result = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(((y + 0.5) * rows) / height);
    for (let x = 0; x < width; x += 1) {
      result[y * width + x] = values[row * columns + Math.floor(((x + 0.5) * columns) / width)];
    }
  }
  return result;
}

/**
 * Values of a (rows, columns) grid for each pixel of a width × height picture.
 * @param {number} width
 * @param {number} height
 */
export function enlarge(values, grid, width, height, smooth) {
  return (smooth ? enlargeSmooth : enlargeBlocks)(values, grid, width, height);
}

/**
 * The colour table's entry, 0 to 255, for a value between the limits.
 * @param {number} value
 * @param {Numbers} limits
 */
export function level(value, [low, high]) {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return Math.min(255, Math.floor(256 * share));
}

/** How much a level's colour covers the picture: the more, the stronger the value. */
function coverage(opacity, floor, signed) {
  return Float32Array.from({ length: 256 }, (_, step) => {
    const strength = signed ? Math.abs((2 * step) / 255 - 1) : step / 255;
    return Math.round(255 * opacity * (floor + (1 - floor) * strength)) / 255;
  });
}

/**
 * Lay a map on a picture (ImageData); returns a new one of its size.
 *
 * `table` holds 256 RGB colours and `limits` the values at its two ends; `region` says where the
 * map lies (it may reach outside), the rest being dimmed; without it the map covers everything.
 */
export function overlay(base, values, grid, options) {
  const { opacity, table, limits, smooth, signed = false, floor, region } = options;
  const { width, height } = base;
  const [left, top, right, bottom] = region ?? [0, 0, width, height];
  const large = enlarge(values, grid, right - left, bottom - top, smooth);
  const cover = coverage(opacity, floor, signed);
  const result = new ImageData(width, height);
  const { data } = result;
  const under = base.data;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = (y * width + x) * 4;
      data[at + 3] = 255;
      if (x < left || x >= right || y < top || y >= bottom) {
        for (let channel = 0; channel < 3; channel += 1)
          data[at + channel] = DIMMED * under[at + channel];
        continue;
      }
      const step = level(large[(y - top) * (right - left) + x - left], limits);
      const share = cover[step];
      const colour = step * 3;
      data[at] = under[at] * (1 - share) + table[colour] * share;
      data[at + 1] = under[at + 1] * (1 - share) + table[colour + 1] * share;
      data[at + 2] = under[at + 2] * (1 - share) + table[colour + 2] * share;
    }
  }
  return result;
}

/** A grid as an ImageData of one pixel a cell, to be enlarged by the browser. */
export function thumbnail(values, [rows, columns], table, limits) {
  const image = new ImageData(columns, rows);
  const { data } = image;
  for (let i = 0; i < rows * columns; i += 1) {
    const colour = level(values[i], limits) * 3;
    data[i * 4] = table[colour];
    data[i * 4 + 1] = table[colour + 1];
    data[i * 4 + 2] = table[colour + 2];
    data[i * 4 + 3] = 255;
  }
  return image;
}

export const maximum = (values) => range(values)[1];
