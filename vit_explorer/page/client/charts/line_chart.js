// Curves of probabilities, 0 to 1, or of values, over whole numbers; pointing chooses a number.

import { keepSize } from "../base/dom.js";
import { svg } from "../base/svg.js";
import { listenForPicks } from "../controls/picking.js";
import { axisName, curve, dot, feet, planeOf, pointedAt, show, upright } from "./axes.js";
import { footing, percentsOf, rangeOf, valueAt, writerOf } from "./scales.js";

const MARGINS = { left: 40, right: 10 };
const SHARES = [0, 0.25, 0.5, 0.75, 1];

/**
 * `onPick(x)` makes it choosable; `draw` is called again by itself when the size changes.
 * @param {{ onPick?: ((at: number) => void) | null, onRelease?: () => void }} [options]
 */
export function createLineChart({ onPick = null, onRelease = () => {} } = {}) {
  const node = svg("svg", { role: "img", class: onPick ? "line-chart pickable" : "line-chart" });
  /** @type {Parameters<typeof draw>[0] | null} */
  let shown = null;
  /** @type {import("./axes.js").Plane | null} */
  let drawn = null;
  const size = keepSize(node, () => shown && draw(shown));

  if (onPick) {
    const pick = (event) => drawn && shown && onPick(pointedAt(event, node, drawn, shown.last));
    listenForPicks(node, pick, onRelease);
  }

  /**
   * `lines`: { kind, points: [[x, y], …] }; `last` ends the axis; `at` is the x marked, with a dot
   * on each line whose `kind` has one; `text` says it in words, `title` names the axis; `valued`
   * lines are values, whose own range is the axis.
   * @param {{
   *   lines: { kind: string, points: [at: number, value: number | null][] }[],
   *   last: number,
   *   at?: number | null,
   *   title: string,
   *   valued?: boolean,
   *   text: string,
   * }} what
   */
  function draw(what) {
    shown = what;
    const { lines, last, at, title, valued, text } = what;
    if (!size.width) return;
    const values = lines.flatMap(({ points }) => points.map(([, value]) => value));
    const up = valued
      ? { up: rangeOf(values), write: writerOf }
      : { up: [0, 1], ticks: SHARES, write: percentsOf };
    const plane = planeOf(size, { across: [0, Math.max(1, last)], ...up }, MARGINS);
    drawn = plane;
    const parts = [
      ...plane.rules,
      ...feet(plane, footing(last + 1, plane.right - plane.left)),
      axisName(plane, size.height, title),
      at === null || at === undefined ? [] : upright(plane, at),
      ...lines.flatMap(({ kind, points }) => [
        curve(plane, points, `line line-${kind}`),
        dot(plane, [at, valueAt(points, at)], { r: 4, class: `mark mark-${kind}` }),
      ]),
    ];
    show(node, size, parts, text);
  }
  return { node, draw };
}
