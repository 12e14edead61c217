// Where numbers of any range stand in a drawing: scales, ranges and ticks, without the drawing.

import { short } from "../base/format.js";

// So much of a step may be lost in rounding.
const SLACK = 1e-6;
// Values that differ by less than this share of their size are one value, told twice.
const ALIKE = 1e-9;
// A character of an axis's numbers is at most so wide, in pixels.
const CHARACTER = 7;
// Between numbers under a drawing there is room for so many characters.
const GAP = 1.5;
const FACTORS = [1, 2, 5, 10];

/** @param {number} size */
const tenOf = (size) => 10 ** Math.floor(Math.log10(size));

/** @param {number} size */
const isLength = (size) => size > 0 && Number.isFinite(size);

/**
 * The largest of …, 1, 2, 5, 10, 20, … that is at most `size`; 1 where that is no length.
 * @param {number} size
 */
export function niceStep(size) {
  if (!isLength(size)) return 1;
  const ten = tenOf(size);
  return (FACTORS.findLast((factor) => factor * ten <= size) ?? 1) * ten;
}

/**
 * The smallest of them that is at least `size`.
 * @param {number} size
 */
export function stepAbove(size) {
  if (!isLength(size)) return 1;
  const ten = tenOf(size);
  return (FACTORS.find((factor) => factor * ten >= size * (1 - SLACK)) ?? 10) * ten;
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
 * The numbers among values of which some may be absent or none.
 * @param {Iterable<number | null | undefined>} values
 * @returns {number[]}
 */
export const numbersIn = (values) => Array.from(values).filter(isNumber);

/** @returns {value is number} */
function isNumber(value) {
  return Number.isFinite(value);
}

/**
 * Those points that have a number.
 * @param {[at: number, value: number | null][]} points
 * @returns {Pair[]}
 */
export const pointsIn = (points) =>
  points.flatMap(([at, value]) => (isNumber(at) && isNumber(value) ? [/** @type {Pair} */ ([at, value])] : []));

/**
 * The smallest and largest number of values; 0 and 0 where there is none.
 * @param {Iterable<number | null | undefined>} values
 * @returns {Pair}
 */
export function endsOf(values) {
  const numbers = numbersIn(values);
  if (!numbers.length) return [0, 0];
  return numbers.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [
    Infinity,
    -Infinity,
  ]);
}

/**
 * The range that an axis shows: of values, and of what it has to hold in any case; its ends are
 * apart from each other.
 * @param {Iterable<number | null | undefined>} values
 * @param {number[]} [held]
 * @returns {Pair}
 */
export function rangeOf(values, held = []) {
  const numbers = [...held, ...numbersIn(values)];
  if (!numbers.length) return [0, 1];
  const [low, high] = endsOf(numbers);
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low > ALIKE * size) return [low, high];
  const half = size / 2 || 0.5;
  return [low - half, high + half];
}

/**
 * Two ranges about the middles of those given, in which a unit is as long across as up: the larger
 * of them fills a box of so many pixels but for the room that is left at its sides.
 * @param {Pair} across
 * @param {Pair} up
 * @param {Pair} box
 * @param {number} room
 * @returns {[Pair, Pair]}
 */
export function equalUnits(across, up, [wide, tall], room) {
  const inside = (length) => Math.max(1, length - 2 * room);
  const unit =
    Math.max((across[1] - across[0]) / inside(wide), (up[1] - up[0]) / inside(tall)) || 1;
  /** @returns {Pair} */
  const about = ([low, high], length) => {
    const [middle, half] = [low + (high - low) / 2, (unit * length) / 2];
    return [middle - half, middle + half];
  };
  return [about(across, wide), about(up, tall)];
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
  const digits = Math.min(100, Math.max(0, -Math.floor(Math.log10(step) + SLACK)));
  return Array.from({ length: Math.max(0, length) }, (_, at) =>
    Number(((first + at) * step).toFixed(digits)),
  );
}

/**
 * How ticks are written: with the digits that tell them apart, and with powers of ten where they
 * would be long.
 * @param {number[]} ticks
 * @returns {(tick: number) => string}
 */
export function writerOf(ticks) {
  if (ticks.length < 2) return short;
  const size = Math.max(...ticks.map(Math.abs));
  const place = Math.floor(Math.log10(ticks[1] - ticks[0]) + SLACK);
  const plain = size >= 1e-3 && size < 1e4;
  return (tick) => (plain || !tick ? String(tick) : powered(tick, place)).replaceAll("-", "\u2212");
}

/**
 * @param {number} tick
 * @param {number} place - the power of ten of its last digit
 */
function powered(tick, place) {
  const digits = Math.floor(Math.log10(Math.abs(tick)) + SLACK) - place;
  const [mantissa, power] = tick.toExponential(Math.min(100, Math.max(0, digits))).split("e");
  return `${Number(mantissa)}e${power.replace("+", "")}`;
}

/**
 * The same of shares, as percentages.
 * @param {number[]} ticks
 * @returns {(tick: number) => string}
 */
export function percentsOf(ticks) {
  // A hundred times 0.07 is a little more than 7.
  const whole = (tick) => Number((100 * tick).toPrecision(12));
  const write = writerOf(ticks.map(whole));
  return (tick) => `${write(whole(tick))}\u00a0%`;
}

/**
 * Room for the longest of an axis's numbers beside the drawing, in pixels.
 * @param {string[]} labels
 * @param {number} least
 */
export const roomFor = (labels, least) =>
  Math.max(least, ...labels.map((label) => CHARACTER * label.length + 8));

/**
 * Whole numbers from 0 below `end`, `step` apart.
 * @param {number} end
 * @param {number} step
 */
export const every = (end, step) =>
  Array.from({ length: Math.ceil(end / step) }, (_, at) => at * step);

/**
 * Those whole numbers from 0 below `end` that can be written under a drawing of a width in pixels.
 * @param {number} end
 * @param {number} wide
 */
export function footing(end, wide) {
  const room = wide / ((String(end).length + GAP) * CHARACTER);
  return every(end, Math.max(1, stepAbove((end - 1) / room)));
}

/**
 * A line's value at `at`, between its points by a straight line; null outside.
 * @param {[at: number, value: number | null][]} points
 * @param {number | null | undefined} at
 */
export function valueAt(points, at) {
  if (at === null || at === undefined) return null;
  const known = pointsIn(points);
  const next = known.findIndex(([number]) => number >= at);
  if (next < 0) return null;
  const [right, high] = known[next];
  if (right === at) return high;
  if (next === 0) return null;
  const [left, low] = known[next - 1];
  return low + ((high - low) * (at - left)) / (right - left);
}
