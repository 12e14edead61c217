// Scales and axes that every chart uses, for numbers of any range.

import { short } from "../base/format.js";
import { svg } from "../base/svg.js";

// So much of a step may be lost in rounding.
const SLACK = 1e-6;

/**
 * The largest of …, 1, 2, 5, 10, 20, … that is at most `size`; 1 where that is no length.
 * @param {number} size
 */
export function niceStep(size) {
  if (!(size > 0) || !Number.isFinite(size)) return 1;
  const ten = 10 ** Math.floor(Math.log10(size));
  return ([5, 2, 1].find((factor) => factor * ten <= size) ?? 1) * ten;
}

/**
 * Where a value lies between two ends of a drawing; in the middle where all values are the same.
 * @param {Numbers} domain
 * @param {Numbers} range
 */
export function linear([low, high], [start, end]) {
  const span = high - low;
  /** @param {number} value */
  return (value) => start + (span ? (value - low) / span : 0.5) * (end - start);
}

/**
 * Round numbers within a range, about `count` steps apart.
 * @param {Numbers} range
 */
export function ticksIn([low, high], count = 2) {
  const step = niceStep((high - low) / count);
  const first = Math.ceil(low / step - SLACK);
  const length = Math.floor(high / step + SLACK) - first + 1;
  // A step such as 0.1 has no exact number, so each tick is written with the step's own digits.
  const digits = Math.min(100, Math.max(0, -Math.floor(Math.log10(step))));
  return Array.from({ length: Math.max(0, length) }, (_, at) =>
    Number(((first + at) * step).toFixed(digits)),
  );
}

/**
 * The smallest and largest value of lines, apart from each other.
 * @param {{ points: number[][] }[]} lines
 * @returns {Pair}
 */
export function rangeOf(lines) {
  const values = lines.flatMap(({ points }) => points.map(([, value]) => value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (!values.length) return [0, 1];
  const half = Math.abs(low) / 2 || 0.5;
  return high > low ? [low, high] : [low - half, high + half];
}

/**
 * A rule across the drawing at each tick, with its number before it.
 * @param {number[]} ticks
 * @param {(value: number) => number} y
 * @param {{ left: number, right: number, format?: (value: number) => string }} place
 */
export const rules = (ticks, y, { left, right, format = short }) =>
  ticks.flatMap((tick) => [
    svg("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "rule" }),
    svg("text", { x: left - 6, y: y(tick) + 4, class: "tick-y" }, format(tick)),
  ]);

/**
 * Numbers under the drawing.
 * @param {number[]} ticks
 * @param {(value: number) => number} x
 * @param {number} y
 * @param {(tick: number) => string | number} [format]
 */
export const feet = (ticks, x, y, format = String) =>
  ticks.map((tick) => svg("text", { x: x(tick), y, class: "tick-x" }, format(tick)));

/**
 * Whole numbers from 0 below `end`, `step` apart.
 * @param {number} end
 * @param {number} step
 */
export const every = (end, step) =>
  Array.from({ length: Math.ceil(end / step) }, (_, at) => at * step);
