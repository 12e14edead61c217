// Lines of values over 1, 2, …, each with its points, and a height to compare them with.

import { fixed } from "../base/format.js";
import { svg } from "../base/svg.js";
import { curve, dot, feet, level, planeOf, show } from "./axes.js";
import { footing, rangeOf } from "./scales.js";

const SIZE = { width: 360, height: 230 };
const MARGINS = { right: 10, bottom: 36 };
const [POINT, HERE] = [2.5, 5];

/**
 * Each of `lines` is { values, name, kind, here }; `held` are values that the axis has to hold, and
 * `comparison` is { at, name }.
 * @param {SVGSVGElement} node
 * @param {{ values: Numbers | Float64Array, name: string, kind: string, here?: number }[]} lines
 * @param {number[]} held
 * @param {{ axis?: string, comparison?: { at: number, name: string } | null }} [options]
 */
export function drawProfile(node, lines, held, { axis = "", comparison = null } = {}) {
  const longest = Math.max(...lines.map(({ values }) => values.length), 2);
  const up = rangeOf(lines.flatMap(({ values }) => [...values]), held);
  const plane = planeOf(SIZE, { across: [0, longest - 1], up, count: 3 }, MARGINS);
  const under = { x: SIZE.width, y: SIZE.height - 4, class: "tick-y" };
  show(node, SIZE, [
    ...plane.rules,
    ...feet(plane, footing(longest, plane.right - plane.left), (at) => at + 1),
    axis ? svg("text", under, axis) : [],
    comparison ? level(plane, plane.y(comparison.at), "level") : [],
    ...lines.flatMap((line) => lineOf(plane, line)),
    // Above all lines, or one may pass over it.
    comparison ? nameOf(plane, comparison) : [],
  ]);
}

/**
 * @param {import("./axes.js").Plane} plane
 * @param {Parameters<typeof drawProfile>[1][number]} line
 */
function lineOf(plane, { values, name, kind, here }) {
  /** @type {Pair[]} */
  const points = Array.from(values, (value, at) => [at, value]);
  const dots = points.flatMap(([at, value]) => {
    const look = { r: at === here ? HERE : POINT, class: `point ${kind}` };
    const circles = dot(plane, [at, value], look);
    const said = `${name}, ${at + 1}: ${fixed(value, 2)}`;
    for (const circle of circles) circle.append(svg("title", {}, said));
    return circles;
  });
  return [curve(plane, points, `line ${kind}`), dots].flat();
}

/** @param {import("./axes.js").Plane} plane */
const nameOf = ({ y }, { at, name }) =>
  svg("text", { x: SIZE.width, y: y(at) - 5, class: "tick-y level-name" }, name);
