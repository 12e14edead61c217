// Curves of probabilities, 0 to 1, or of values, over whole numbers; pointing chooses a number.

import { keepSize } from "../base/dom.js";
import { svg } from "../base/svg.js";
import { listenForPicks } from "../controls/picking.js";
import { axisName, curve, dot, feet, planeOf, pointedAt, show, upright } from "./axes.js";
import { footing, percentsOf, rangeOf, valueAt, writerOf } from "./scales.js";

const MARGINS = { left: 40, right: 10 };
const SHARES = [0, 0.25, 0.5, 0.75, 1];

/** `onPick(x)` makes it choosable; `draw` is called again by itself when the size changes. */
export function createLineChart({ onPick = null, onRelease = () => {} } = {}) {
  const node = svg("svg", { role: "img", class: onPick ? "line-chart pickable" : "line-chart" });
  let shown = null;
  let plane = null;
  const size = keepSize(node, () => shown && draw(shown));

  if (onPick) {
    const pick = (event) => plane && onPick(pointedAt(event, node, plane, shown.last));
    listenForPicks(node, pick, onRelease);
  }

  /**
   * `lines`: { kind, points: [[x, y], …] }; `last` ends the axis; `at` is the x marked, with a dot
   * on each line whose `kind` has one; `text` says it in words, `title` names the axis; `valued`
   * lines are values, whose own range is the axis.
   */
  function draw(what) {
    shown = what;
    const { lines, last, at, title, valued, text } = what;
    if (!size.width) return;
    const values = lines.flatMap(({ points }) => points.map(([, value]) => value));
    const up = valued
      ? { up: rangeOf(values), write: writerOf }
      : { up: [0, 1], ticks: SHARES, write: percentsOf };
    plane = planeOf(size, { across: [0, Math.max(1, last)], ...up }, MARGINS);
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
