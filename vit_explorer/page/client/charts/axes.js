// What charts are drawn of: the plane with its rules and numbers, lines, marks, and where one points.

import { enlargement, svg } from "../base/svg.js";
import { linear, numbersIn, pointsIn, roomFor, ticksIn, writerOf } from "./scales.js";

// The baseline of a number under a drawing lies so far below it, and that of an axis's name so far
// above the drawing's end; a number beside a rule stands so far from it, and its middle so far up:
// where text is larger, these and the margins are so by as much.
const [FOOT, NAME, ASIDE, MIDDLE] = [15, 3, 6, 4];

/**
 * @typedef {object} Plane
 * @property {number} left - the ends of the drawing, in pixels
 * @property {number} right
 * @property {number} top
 * @property {number} bottom
 * @property {(value: number) => number} x - where numbers across and up stand
 * @property {(value: number) => number} y
 * @property {SVGElement[]} rules - a rule across at each tick, with its number before it
 */

/**
 * A drawing's plane: `across` and `up` are the ranges that its width and height show. As many rules
 * as `ticks` has, else round numbers about `count` steps apart; `write` makes a writer of them.
 * @param {{ width: number, height: number }} size
 * @param {{
 *   across: Numbers,
 *   up: Numbers,
 *   ticks?: number[],
 *   count?: number,
 *   write?: (ticks: number[]) => (tick: number) => string,
 * }} axes
 * @param {{ left?: number, right?: number, top?: number, bottom?: number }} [margins] - `left` is
 *   the least: long numbers take more
 * @returns {Plane}
 */
export function planeOf(
  { width, height },
  { across, up, count = 2, ticks = ticksIn(up, count), write = writerOf },
  { left = 34, right = 8, top = 8, bottom = 34 } = {},
) {
  const labels = ticks.map(write(ticks));
  const times = enlargement();
  const box = {
    left: times * roomFor(labels, left),
    right: width - times * right,
    top: times * top,
    bottom: height - times * bottom,
  };
  const y = linear(up, [box.bottom, box.top]);
  const rules = ticks.flatMap((tick, at) => [
    level(box, y(tick), "rule"),
    svg("text", { x: box.left - times * ASIDE, y: y(tick) + times * MIDDLE, class: "tick-y" }, labels[at]),
  ]);
  return { ...box, x: linear(across, [box.left, box.right]), y, rules };
}

/**
 * A line across a plane at a height in pixels.
 * @param {Pick<Plane, "left" | "right">} plane
 * @param {number} y
 * @param {string} name
 */
export const level = ({ left, right }, y, name) =>
  svg("line", { x1: left, x2: right, y1: y, y2: y, class: name });

/**
 * A line from the top of a plane to its bottom at a number across.
 * @param {Plane} plane
 * @param {number} at
 * @param {string} [name]
 */
export const upright = ({ x, top, bottom }, at, name = "head") =>
  svg("line", { x1: x(at), x2: x(at), y1: top, y2: bottom, class: name });

/**
 * Numbers under the drawing.
 * @param {Plane} plane
 * @param {number[]} ticks
 * @param {(tick: number) => string | number} [write]
 */
export const feet = ({ x, bottom }, ticks, write = String) =>
  ticks.map((tick) => svg("text", { x: x(tick), y: bottom + enlargement() * FOOT, class: "tick-x" }, write(tick)));

/**
 * The name of the axis across, in the middle under its numbers.
 * @param {Plane} plane
 * @param {number} height
 * @param {string} name
 */
export const axisName = ({ left, right }, height, name) =>
  svg("text", { x: (left + right) / 2, y: height - enlargement() * NAME, class: "tick-x" }, name);

/**
 * A line through points; it leads past those that have no number.
 * @param {Plane} plane
 * @param {[at: number, value: number | null][]} points
 * @param {string} name
 */
export function curve({ x, y }, points, name) {
  const places = pointsIn(points).map(([at, value]) => `${x(at)},${y(value)}`);
  return svg("polyline", { class: name, points: places.join(" ") });
}

/**
 * A dot at a point; none where it has no number.
 * @param {Plane} plane
 * @param {[at: number | null | undefined, value: number | null | undefined]} point
 * @param {{ r: number, class: string }} look
 * @returns {SVGCircleElement[]}
 */
export function dot({ x, y }, point, look) {
  const [at, value] = numbersIn(point);
  return value === undefined ? [] : [svg("circle", { cx: x(at), cy: y(value), ...look })];
}

/**
 * The whole number, from 0 to `last`, that an event over a drawing points at.
 * @param {MouseEvent} event
 * @param {Element} node
 * @param {Pick<Plane, "left" | "right">} plane
 * @param {number} last
 */
export function pointedAt(event, node, { left, right }, last) {
  const at = linear([left, right], [0, last])(event.clientX - node.getBoundingClientRect().left);
  return Math.min(last, Math.max(0, Math.round(at)));
}

/**
 * Show parts in a drawing of a size, and say in words what they show.
 * @param {SVGSVGElement} node
 * @param {{ width: number, height: number }} size
 * @param {(SVGElement | SVGElement[])[]} parts
 * @param {string} [text]
 */
export function show(node, { width, height }, parts, text) {
  node.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (text !== undefined) node.setAttribute("aria-label", text);
  node.replaceChildren(...parts.flat());
}
