// Two charts of token norms: how they spread, and how much attention outliers take.

import { keepSize } from "../base/dom.js";
import { percent, short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { axisName, level, planeOf, show, upright } from "./axes.js";
import { endsOf, footing, rangeOf } from "./scales.js";

// Their heights are told by words and by numbers above bars, so they have no rules.
const MARGINS = { left: 8, top: 18, bottom: 32 };
const [FOOT, ABOVE] = [15, 4];
// A dashed line reaches so far above the bars.
const OVER = 6;

/**
 * A bar from a plane's bottom to a height, between two places across.
 * @param {import("./axes.js").Plane} plane
 * @param {Pair} sides - in pixels
 * @param {number} value
 * @param {string} name
 */
function bar({ y, bottom }, [left, right], value, name) {
  const top = Number.isFinite(value) ? Math.min(y(value), bottom) : bottom;
  const box = { x: left, y: top, width: Math.max(1, right - left), height: bottom - top };
  return svg("rect", { ...box, class: name });
}

/** How many patches have which norm; outliers stand out in colour, right of the dashed line. */
export function createHistogram() {
  const node = svg("svg", { role: "img", class: "norm-chart" });
  /** @type {Parameters<typeof draw> | null} */
  let shown = null;
  const size = keepSize(node, () => shown && draw(...shown));

  function draw(layer, value) {
    shown = [layer, value];
    if (!size.width) return;
    const { counts, edges, threshold, median, outliers } = layer;
    const [low, high] = endsOf(edges);
    const axes = { across: rangeOf(edges), up: rangeOf(counts, [0, 1]), ticks: [] };
    const plane = planeOf(size, axes, MARGINS);
    const line = (norm, name) =>
      norm >= low && norm <= high
        ? upright({ ...plane, top: plane.top - OVER }, norm, name)
        : [];
    const parts = [
      level(plane, plane.bottom, "rule"),
      ...counts.map((count, at) => {
        const [left, right] = [edges[at], edges[at + 1]];
        // Edges come rounded, so a bin is judged by its middle.
        const name = left + right > 2 * threshold ? "bin bin-high" : "bin";
        return bar(plane, [plane.x(left) + 0.5, plane.x(right) - 0.5], count, name);
      }),
      line(threshold, "threshold"),
      line(value, "head"),
      ...ends(plane, [low, high]),
      axisName(plane, size.height, t("norms.axis")),
    ];
    const values = { low: short(low), high: short(high), median: short(median) };
    const text = t("norms.histogram.text", { ...values, count: outliers.length });
    show(node, size, parts, text);
  }
  return { node, draw };
}

/**
 * The smallest and largest norm, at the two ends of the axis.
 * @param {import("./axes.js").Plane} plane
 * @param {Pair} ends
 */
function ends({ left, right, bottom }, [low, high]) {
  const y = bottom + FOOT;
  return [
    svg("text", { x: left, y }, short(low)),
    svg("text", { x: right, y, class: "tick-y" }, short(high)),
  ];
}

/**
 * Attention that outliers take, a pair of bars a layer, with their number above.
 * @param {Store} store
 */
export function createTaken(store) {
  const node = svg("svg", { role: "img", class: "norm-chart" });
  /** @type {Parameters<typeof draw> | null} */
  let shown = null;
  const size = keepSize(node, () => shown && draw(...shown));

  /** @param {State} state */
  function draw(state, layers) {
    shown = [state, layers];
    if (!size.width) return;
    const means = layers.map(({ mean_share: mean }) => mean);
    const shares = [...layers.map(({ class_share: own }) => own), ...means];
    const across = [-0.5, layers.length - 0.5];
    const axes = { across, up: rangeOf(shares, [0, 0.05]), ticks: [] };
    const plane = planeOf(size, axes, MARGINS);
    const [, most] = endsOf(means);
    const any = layers.some(({ outliers }) => outliers.length);
    const numbered = new Set(footing(layers.length, plane.right - plane.left));
    const [middle, height] = [size.width / 2, size.height / 2 - 8];
    const parts = [
      column(plane, state.layer, plane.bottom + FOOT + ABOVE, "here-column"),
      level(plane, plane.bottom, "rule"),
      ...layers.flatMap((layer, index) => columnOf(plane, layer, index, numbered.has(index))),
      axisName(plane, size.height, t("heads.layer")),
      any ? [] : svg("text", { x: middle, y: height, class: "tick-x" }, t("norms.taken.none")),
    ];
    const values = { layer: means.indexOf(most) + 1, share: percent(most) };
    show(node, size, parts, t(any ? "norms.taken.text" : "norms.taken.none", values));
  }

  /**
   * @param {import("./axes.js").Plane} plane
   * @param {any} layer
   * @param {number} index
   * @param {boolean} numbered
   */
  function columnOf(plane, { class_share: own, mean_share: mean, outliers }, index, numbered) {
    const { x, y, bottom } = plane;
    const middle = x(index);
    const thick = Math.max(2, (x(1) - x(0)) * 0.32);
    const target = column(plane, index, bottom, "catcher");
    target.append(svg("title", {}, t("heads.layer.one", { layer: index + 1 })));
    target.addEventListener("click", () => store.set({ layer: index }));
    const text = (at, name, said) => svg("text", { x: middle, y: at, class: name }, said);
    const [, top] = endsOf([own, mean]);
    return [
      own === null ? [] : bar(plane, [middle - thick, middle - 0.5], own, "bin bin-high"),
      bar(plane, [middle, middle + thick - 0.5], mean, "bin"),
      numbered ? text(bottom + FOOT, "tick-x", index + 1) : [],
      outliers.length ? text(y(top) - ABOVE, "tick-x count", outliers.length) : [],
      target,
    ].flat();
  }
  return { node, draw };
}

/**
 * A layer's whole column, from the drawing's top down to a height in pixels.
 * @param {import("./axes.js").Plane} plane
 * @param {number} index
 * @param {number} height
 * @param {string} name
 */
function column({ x }, index, height, name) {
  const left = x(index - 0.5);
  return svg("rect", { x: left, y: 0, width: x(index + 0.5) - left, height, class: name });
}
