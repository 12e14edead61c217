// Curves of probabilities, 0 to 1, or of values, over whole numbers; pointing chooses a number.

import { keepSize, replace } from "../base/dom.js";
import { short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { listenForPicks } from "../controls/picking.js";
import { every, feet, linear, niceStep, rangeOf, rules, ticksIn } from "./scales.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [40, 10, 8, 34];
const CHARACTER = 7;

/** `onPick(x)` makes it choosable; `draw` is called again by itself when the size changes. */
export function createLineChart({ onPick = null, onRelease = () => {} } = {}) {
  const node = svg("svg", { role: "img", class: onPick ? "line-chart pickable" : "line-chart" });
  let shown = null;
  let last = 1;
  const size = keepSize(node, () => shown && draw(shown));

  if (onPick) {
    const pick = (event) => {
      if (!shown) return;
      const wide = size.width - LEFT - RIGHT;
      const share = (event.clientX - node.getBoundingClientRect().left - LEFT) / wide;
      onPick(Math.min(last, Math.max(0, Math.round(share * last))));
    };
    listenForPicks(node, pick, onRelease);
  }

  /**
   * `lines`: { kind, points: [[x, y], …] }; `last` ends the axis; `at` is the x marked, with a dot
   * on each line whose `kind` has one; `text` says it in words, `title` names the axis; `valued`
   * lines are values, whose own range is the axis.
   */
  function draw(what) {
    shown = what;
    last = what.last;
    const { width, height } = size;
    if (!width) return;
    const x = linear([0, Math.max(1, last)], [LEFT, width - RIGHT]);
    const [low, high] = what.valued ? rangeOf(what.lines) : [0, 1];
    const y = linear([low, high], [height - BOTTOM, TOP]);
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    node.setAttribute("aria-label", what.text);
    const marked = what.at === null || what.at === undefined;
    replace(
      node,
      axes(what, { width, height }, x, y, [low, high]),
      marked
        ? []
        : svg("line", { class: "head", x1: x(what.at), x2: x(what.at), y1: TOP, y2: y(low) }),
      what.lines.flatMap((line) => drawLine(line, what.at, x, y)),
    );
  }
  return { node, draw };
}

function drawLine({ kind, points }, at, x, y) {
  const places = points.map(([number, share]) => `${x(number)},${y(share)}`).join(" ");
  const line = svg("polyline", { class: `line line-${kind}`, points: places });
  const share = valueAt(points, at);
  if (share === null) return [line];
  const dot = svg("circle", { class: `mark mark-${kind}`, cx: x(at), cy: y(share), r: 4 });
  return [line, dot];
}

/** A line's height at `at`, between its points by a straight line; null outside. */
export function valueAt(points, at) {
  if (at === null || at === undefined) return null;
  const next = points.findIndex(([number]) => number >= at);
  if (next < 0) return null;
  const [right, high] = points[next];
  if (right === at) return high;
  if (next === 0) return null;
  const [left, low] = points[next - 1];
  return low + ((high - low) * (at - left)) / (right - left);
}

function axes({ last, title, valued }, { width, height }, x, y, range) {
  const place = { left: LEFT, right: width - RIGHT };
  const percents = { ...place, format: (mark) => `${mark * 100}\u00a0%` };
  const parts = valued
    ? rules(ticksIn(range), y, { ...place, format: short })
    : rules([0, 0.25, 0.5, 0.75, 1], y, percents);
  const room = (width - LEFT - RIGHT) / ((String(last).length + 1.5) * CHARACTER);
  const step = Math.max(1, niceStep(last / room) * (niceStep(last / room) < last / room ? 2 : 1));
  parts.push(...feet(every(last + 1, Math.ceil(step)), x, height - BOTTOM + 15));
  const middle = { x: (LEFT + width - RIGHT) / 2, y: height - 3, class: "tick-x" };
  return [...parts, svg("text", middle, title)];
}
