// One number a head as dots, a column a layer: how far heads look, how widely they spread.

import { el, setText } from "../base/dom.js";
import { short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { createFigureMenu } from "../controls/figure_menu.js";
import { numbersOf } from "../server/packed.js";
import { axisName, dot, feet, planeOf, show } from "./axes.js";
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
 * largest value on the axis, and `chosen(layer, head)` says which dots stand out.
 * @param {{
 *   height?: number,
 *   onChoose?: ((layer: number, head: number) => void) | null,
 *   measure?: string,
 * }} [options]
 */
export function createHeadPlot({ height = HEIGHT, onChoose = null, measure = "distance" } = {}) {
  const { format } = MEASURES[measure];
  const node = svg("svg", { role: "img", height });

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
    const name = ["dot", chosen ? "chosen" : "", onChoose ? "choosable" : ""].join(" ").trim();
    const circles = dot(plane, [layer, value], { r: chosen ? 5 : 4, class: name });
    for (const circle of circles) {
      const values = { layer: layer + 1, head: head + 1, value: format(value) };
      circle.append(svg("title", {}, t(`measure.${measure}.one`, values)));
      if (onChoose) circle.addEventListener("click", () => onChoose(layer, head));
    }
    return circles;
  }
  return { node, paint };
}

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
  /** @param {number} layer */
  const onChoose = (layer, head) => store.set({ layer, head });
  const plot = createHeadPlot({ onChoose, measure });
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
    el("p", { class: "note" }, t(`measure.${measure}.help`)),
  );

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
    plot.paint({ width, layers: values ? byLayer(values, heads) : [], depth, reach, chosen });
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
