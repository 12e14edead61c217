// A training film: what was kept of a model at each of its epochs.

import { range } from "../maps/pixels.js";

/** @param {number[]} sizes */
const product = (sizes) => sizes.reduce((size, next) => size * next, 1);

export class Film {
  /** @param {Packed} packed */
  constructor({ facts, arrays, shapes }) {
    /** @type {number[]} */
    this.epochs = facts.epochs;
    /** @type {string[]} */
    this.names = facts.names;
    /** @type {string[]} */
    this.labels = facts.labels;
    /** @type {Measured} */
    this.measured = facts.measured;
    /** @type {Record<string, (number | null)[]>} */
    this.curves = facts.curves;
    /** @type {number[][] | null} */
    this.dead = facts.dead;
    /** @type {number[][] | null} */
    this.artifacts = facts.artifacts;
    this.shapes = shapes;
    this.parts = arrays;
    this.rolloutLimits = wideLimits(this.parts.rollout);
  }

  get frames() {
    return this.epochs.length;
  }

  get lastEpoch() {
    return this.epochs.at(-1);
  }

  /**
   * How many heads are dead and how many patches stand out, of how many; null in a film without.
   * @param {number} frame
   * @param {number} probe
   */
  health(frame, probe) {
    if (!this.dead || !this.artifacts) return null;
    const [, , depth, heads] = this.shapes.distance;
    const [rows, columns] = this.grid;
    return {
      dead: this.dead[frame][probe], heads: depth * heads,
      artifacts: this.artifacts[frame][probe], patches: rows * columns,
    };
  }

  /**
   * Rows and columns of patches.
   * @returns {Pair}
   */
  get grid() {
    const [, , rows, columns] = this.shapes.rollout;
    return [rows, columns];
  }

  /** Values of a part under its first indices: `at("rollout", frame, probe)`. */
  at(name, ...place) {
    const shape = this.shapes[name];
    let [start, size] = [0, product(shape)];
    place.forEach((index, axis) => {
      size /= shape[axis];
      start += index * size;
    });
    return this.parts[name].subarray(start, start + size);
  }

  /**
   * The `count` likeliest classes of a picture at a frame, as { label, probability }.
   * @param {number} frame
   */
  top(frame, probe, count) {
    const probabilities = this.at("probabilities", frame, probe);
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    return order
      .slice(0, count)
      .map((index) => ({ label: this.labels[index], probability: probabilities[index] }));
  }
}

/**
 * One scale for every picture and epoch: only so does a map that grows stronger look it. It reaches
 * half the mean to either side at least, or the noise of an untrained model would look like shapes.
 */
function wideLimits(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const [low, high] = range(values);
  return [Math.min(low, mean / 2), Math.max(high, mean * 1.5)];
}

/**
 * Bytes of RGB (height × width × 3) as an ImageData.
 * @param {number} width
 * @param {number} height
 */
export function rgbImage(bytes, width, height) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let i = 0; i < width * height; i += 1) {
    data[4 * i] = bytes[3 * i];
    data[4 * i + 1] = bytes[3 * i + 1];
    data[4 * i + 2] = bytes[3 * i + 2];
    data[4 * i + 3] = 255;
  }
  return image;
}
