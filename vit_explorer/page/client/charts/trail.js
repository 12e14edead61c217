// A way through a plane of two components: a dot a layer, joined in order, a unit alike both ways.

import { keepSize } from "../base/dom.js";
import { svg } from "../base/svg.js";
import { axisName, curve, dot, level, planeOf, show } from "./axes.js";
import { endsOf, equalUnits } from "./scales.js";

const MARGINS = { left: 26, right: 4, top: 4, bottom: 26 };
// Between the dots and the axes, and between two dots that both have their number beside them.
const ROOM = 16;
// Where the name of the axis up stands, turned.
const UP = 14;

/**
 * `onPick(layer)` chooses a dot.
 * @param {(layer: number) => void} onPick
 */
export function createTrail(onPick) {
  const node = svg("svg", { role: "img", class: "path-plot" });
  /** @type {Parameters<typeof draw>[0] | null} */
  let shown = null;
  const size = keepSize(node, () => shown && draw(shown));

  /**
   * `names` of both axes; `titles` of the dots; `chosen` is the layer that stands out.
   * @param {{
   *   points: Pair[],
   *   chosen: number,
   *   names: [across: string, up: string],
   *   titles: string[],
   *   text: string,
   * }} what
   */
  function draw(what) {
    shown = what;
    const { points, chosen, names, titles, text } = what;
    if (!size.width) return;
    const plane = planeFor(points, size);
    const { left, top, bottom } = plane;
    const turned = { transform: `translate(${UP} ${(top + bottom) / 2}) rotate(-90)`, class: "tick-x" };
    const parts = [
      svg("line", { x1: left, x2: left, y1: top, y2: bottom, class: "rule" }),
      level(plane, bottom, "rule"),
      axisName(plane, size.height, names[0]),
      svg("text", turned, names[1]),
      curve(plane, points, "line line-train"),
      ...points.flatMap((point, layer) => pointOf(plane, point, layer === chosen, titles[layer], () => onPick(layer))),
      ...labels(plane, points, chosen),
    ];
    show(node, size, parts, text);
  }
  return { node, draw };
}

/**
 * @param {Pair[]} points
 * @param {{ width: number, height: number }} size
 */
function planeFor(points, size) {
  const [wide, tall] = [
    size.width - MARGINS.left - MARGINS.right,
    size.height - MARGINS.top - MARGINS.bottom,
  ];
  /** @type {[Pair, Pair]} */
  const ends = [endsOf(points.map(([x]) => x)), endsOf(points.map(([, y]) => y))];
  const [across, up] = equalUnits(...ends, [wide, tall], ROOM);
  return planeOf(size, { across, up, ticks: [] }, MARGINS);
}

/** @param {import("./axes.js").Plane} plane */
function pointOf(plane, point, chosen, title, pick) {
  const name = chosen ? "dot choosable chosen" : "dot choosable";
  const circles = dot(plane, point, { r: chosen ? 6 : 4.5, class: name });
  for (const circle of circles) {
    circle.append(svg("title", {}, title));
    circle.addEventListener("click", pick);
  }
  return circles;
}

/**
 * Numbers beside the dots, left out where they would lie on one another.
 * @param {import("./axes.js").Plane} plane
 * @param {Pair[]} points
 * @param {number} chosen
 */
function labels({ x, y }, points, chosen) {
  const order = [chosen, 0, points.length - 1, ...points.keys()];
  const written = [];
  for (const layer of new Set(order)) {
    const point = points[layer];
    if (!point?.every(Number.isFinite)) continue;
    const [left, top] = [x(point[0]), y(point[1])];
    if (written.every(([other, high]) => Math.hypot(other - left, high - top) > ROOM))
      written.push([left, top, layer]);
  }
  return written.map(([left, top, layer]) =>
    svg("text", { x: left + 8, y: top - 6 }, layer + 1),
  );
}
