// One number a head as dots, a column a layer: how far heads look, how widely they spread.

import { el, replace, setText } from "../base/dom.js";
import { short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { createFigureMenu } from "../controls/figure_menu.js";
import { numbersOf } from "../server/packed.js";
import { axisName, dot, feet, planeOf, show } from "./axes.js";
import { extremeHeads, nearestDot } from "./picking.js";
import { endsOf, footing, numbersIn, rangeOf } from "./scales.js";

const HEIGHT = 170;
const MARGINS = { left: 32, right: 6 };
const MEASURES = {
  distance: {
    format: Math.round,
    reach: ({ image }) => Math.hypot(...image) / 2,
  },
  entropy: {
    format: (share) => short(Number(share.toFixed(2))),
    reach: () => 1,
  },
};

/**
 * One dot a head; `layers` is a list of [layer, its heads' values of the measure], `reach` the
 * largest value on the axis, and `chosen(layer, head)` says which dots stand out. The dot nearest to
 * the pointer is the one that is meant: `onPoint` hears of it, or of null, and `onChoose` of a click.
 * @param {{
 *   height?: number,
 *   onChoose?: ((dot: import("./picking.js").HeadDot) => void) | null,
 *   onPoint?: (dot: import("./picking.js").HeadDot | null) => void,
 *   measure?: string,
 * }} [options]
 */
export function createHeadPlot({
  height = HEIGHT,
  onChoose = null,
  onPoint = () => {},
  measure = "distance",
} = {}) {
  const { format } = MEASURES[measure];
  const node = svg("svg", { role: "img", height });
  /** @type {(import("./picking.js").HeadDot & { circle: SVGCircleElement })[]} */
  let dots = [];
  /** @type {(typeof dots)[number] | null} */
  let pointed = null;
  if (onChoose) {
    node.addEventListener("pointermove", (event) => point(under(event)));
    node.addEventListener("pointerleave", () => point(null));
    node.addEventListener("click", (event) => {
      const meant = under(event);
      if (meant) onChoose(meant);
    });
  }

  /**
   * @param {MouseEvent} event
   * @returns {typeof pointed}
   */
  function under(event) {
    const { left, top } = node.getBoundingClientRect();
    return nearestDot(dots, [event.clientX - left, event.clientY - top]);
  }

  function point(meant) {
    if (meant === pointed) return;
    pointed?.circle.classList.remove("pointed");
    meant?.circle.classList.add("pointed");
    node.classList.toggle("choosable", Boolean(meant));
    pointed = meant;
    onPoint(meant);
  }

  /**
   * @param {{
   *   width: number,
   *   layers: [layer: number, values: Numbers][],
   *   depth: number,
   *   reach: number,
   *   chosen?: (layer: number, head: number) => boolean,
   * }} what
   */
  function paint({ width, layers, depth, reach, chosen = () => false }) {
    const all = numbersIn(layers.flatMap(([, values]) => [...values]));
    const axes = { across: [-0.5, depth - 0.5], up: rangeOf(all, [0, reach]), count: 3 };
    const plane = planeOf({ width, height }, axes, MARGINS);
    const [low, high] = endsOf(all).map(format);
    [dots, pointed] = [[], null];
    const title = t(`measure.${measure}`);
    const parts = [
      ...plane.rules,
      ...feet(plane, footing(depth, plane.right - plane.left), (layer) => layer + 1),
      axisName(plane, height, t("heads.layer")),
      ...layers.flatMap(([layer, values]) =>
        [...values].flatMap((value, head) => one(plane, [layer, value], head, chosen(layer, head))),
      ),
    ];
    const text = all.length ? t("measure.ends", { title, low, high }) : title;
    show(node, { width, height }, parts, text);
  }

  /**
   * @param {import("./axes.js").Plane} plane
   * @param {Pair} point
   * @param {number} head
   * @param {boolean} chosen
   */
  function one(plane, [layer, value], head, chosen) {
    const circles = dot(plane, [layer, value], {
      r: chosen ? 5 : 4,
      class: chosen ? "dot chosen" : "dot",
    });
    for (const circle of circles) {
      const [x, y] = [plane.x(layer), plane.y(value)];
      dots.push({ x, y, layer, head, value, circle });
      // Where one can point at it, its words stand below.
      if (!onChoose) circle.append(svg("title", {}, headInWords(measure, { layer, head, value })));
    }
    return circles;
  }
  return { node, paint };
}

/** A head and its value of a measure, such as "Layer 3, head 2: 24 pixels". */
const headInWords = (measure, { layer, head, value }) =>
  t(`measure.${measure}.one`, {
    layer: layer + 1,
    head: head + 1,
    value: MEASURES[measure].format(value),
  });

/**
 * A measure's values, head by head and layer by layer, as `paint` takes them.
 * @param {Float32Array} values
 * @param {number} heads
 * @returns {[layer: number, values: Float32Array][]}
 */
export const byLayer = (values, heads) =>
  Array.from({ length: values.length / heads }, (_, layer) => [
    layer,
    values.subarray(layer * heads, (layer + 1) * heads),
  ]);

/**
 * Both measures of the picture's attention; choosing a dot shows its head.
 * @param {Context} context
 */
export function createMeasurePlots(context) {
  const { store } = context;
  const plots = Object.keys(MEASURES).map((measure) => createMeasurePlot(context, measure));
  const failure = el("p", { class: "note", role: "status" });
  const node = el("div", { class: "measures" }, plots.map((plot) => plot.node), failure);
  let drawn = "";
  new ResizeObserver(() => store.get().result && draw(store.get())).observe(node);

  /** @param {State} state */
  function draw(state) {
    const numbers = numbersOf(state.result, "heads");
    setText(failure, numbers?.failed ? t("measure.failed") : "");
    const width = plots[0].node.clientWidth;
    const { pass, model } = state.result;
    const key = [pass, Boolean(numbers?.arrays), state.layer, state.head, width].join();
    if (!width || key === drawn) return;
    drawn = key;
    const here = numbers?.arrays;
    for (const plot of plots) plot.paint(state, width, here?.[plot.measure], model);
  }
  return { node, draw };
}

/** @param {Context} context */
function createMeasurePlot(context, measure) {
  const { store } = context;
  const onChoose = ({ layer, head }) => store.set({ layer, head });
  const plot = createHeadPlot({ onChoose, onPoint: tell, measure });
  const here = el("p", { class: "note head-here", role: "status" });
  const ends = el("p", { class: "note head-ends" });
  let usual = "";
  const menu = createFigureMenu(context, measure, {
    title: () => t(`measure.${measure}`),
    figure: () => ({ svg: plot.node }),
    table: ({ result }) =>
      headTable(measure, numbersOf(result, "heads")?.arrays?.[measure] ?? [], result.model.heads),
    code: () => ({ figure: measure }),
  });
  const node = el(
    "div",
    { class: "distance", dataset: { measure } },
    el("h3", {}, el("span", {}, t(`measure.${measure}`)), menu),
    plot.node,
    here,
    ends,
    el("p", { class: "note" }, t(`measure.${measure}.help`)),
  );

  /** What the dot that is meant shows; without one, the head that is chosen. */
  function tell(meant) {
    setText(here, meant ? headInWords(measure, meant) : usual);
  }

  /** The two heads that stand out, each a button that shows it. */
  function nameEnds(layers) {
    const one = ([end, head]) => {
      const choose = { class: "in-text", dataset: { end }, onclick: () => onChoose(head) };
      const button = el("button", { type: "button", ...choose }, headInWords(measure, head));
      return el("span", {}, t(`measure.${measure}.${end}`), " ", button);
    };
    replace(ends, Object.entries(extremeHeads(layers) ?? {}).map(one));
  }

  /**
   * @param {State} state
   * @param {number} width
   * @param {Model} model
   */
  function paint({ layer, head }, width, values, model) {
    const { depth, heads } = model;
    const chosen = (index, number) =>
      index === layer && (typeof head !== "number" || head === number);
    const reach = MEASURES[measure].reach(model);
    const layers = values ? byLayer(values, heads) : [];
    plot.paint({ width, layers, depth, reach, chosen });
    const single = values && typeof head === "number";
    const value = single ? values[layer * heads + head] : null;
    usual = single ? headInWords(measure, { layer, head, value }) : t("measure.point");
    tell(null);
    nameEnds(layers);
  }
  return { node, measure, paint };
}

/**
 * Rows of a table of a measure's values.
 * @param {string} measure
 * @param {Numbers} values
 * @param {number} heads
 */
export function headTable(measure, values, heads) {
  const rows = Array.from(values, (value, at) => [Math.floor(at / heads) + 1, (at % heads) + 1, value]);
  return [["layer", "head", measure], ...rows];
}
