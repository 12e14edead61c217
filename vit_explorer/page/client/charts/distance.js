// One number a head as dots, a column a layer: how far heads look, how widely they spread.

import { el, setText } from "../base/dom.js";
import { short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { createFigureMenu } from "../controls/figure_menu.js";
import { numbersOf } from "../server/packed.js";
import { every, feet, linear, rules, ticksIn } from "./scales.js";

const [HEIGHT, LEFT, BOTTOM, TOP] = [170, 32, 34, 8];
const MEASURES = {
  distance: {
    format: Math.round,
    reach: ({ image }) => Math.hypot(...image) / 2,
    code: "values = vx.attention_distance(vx.trace(model, picture), renormalise=True)",
  },
  entropy: {
    format: (share) => short(Number(share.toFixed(2))),
    reach: () => 1,
    code: "values = vx.attention_entropy(vx.trace(model, picture))",
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
    const x = linear([-0.5, depth - 0.5], [LEFT, width - 6]);
    const y = linear([0, reach], [height - BOTTOM, TOP]);
    const dots = layers.flatMap(([layer, values]) =>
      [...values].map((value, head) =>
        dot(layer, head, value, [x(layer), y(value)], chosen(layer, head)),
      ),
    );
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    node.replaceChildren(...axes({ width, height, depth, reach }, x, y), ...dots);
    const all = layers.flatMap(([, values]) => [...values]);
    const ends = { low: format(Math.min(...all)), high: format(Math.max(...all)) };
    const title = t(`measure.${measure}`);
    node.setAttribute("aria-label", all.length ? t("measure.ends", { title, ...ends }) : title);
  }

  /** @param {number} layer */
  function dot(layer, head, value, [cx, cy], chosen) {
    const name = ["dot", chosen ? "chosen" : "", onChoose ? "choosable" : ""].join(" ").trim();
    const circle = svg("circle", { cx, cy, r: chosen ? 5 : 4, class: name });
    const values = { layer: layer + 1, head: head + 1, value: format(value) };
    circle.append(svg("title", {}, t(`measure.${measure}.one`, values)));
    if (onChoose) circle.addEventListener("click", () => onChoose(layer, head));
    return circle;
  }
  return { node, paint };
}

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
    for (const plot of plots) plot.paint(state, width, here ? here[plot.measure] : [], model);
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
    table: (state) => headTable(store, state, measure),
    python: () => [MEASURES[measure].code],
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
    /** @type {[number, Numbers][]} */
    const layers = Array.from({ length: values.length / heads }, (_, index) => [
      index,
      values.slice(index * heads, (index + 1) * heads),
    ]);
    const chosen = (index, number) =>
      index === layer && (typeof head !== "number" || head === number);
    plot.paint({ width, layers, depth, reach: MEASURES[measure].reach(model), chosen });
  }
  return { node, measure, paint };
}

/**
 * @param {Store} store
 * @param {State} state
 */
function headTable(store, { result }, measure) {
  const values = numbersOf(result, "heads")?.arrays?.[measure] ?? [];
  const { heads } = result.model;
  const rows = Array.from(values, (value, at) => [Math.floor(at / heads) + 1, (at % heads) + 1, value]);
  return [["layer", "head", measure], ...rows];
}

function axes({ width, height, depth, reach }, x, y) {
  const parts = rules(ticksIn([0, reach], 3), y, { left: LEFT, right: width, format: String });
  const layers = every(depth, Math.ceil(depth / 12));
  parts.push(...feet(layers, x, height - BOTTOM + 15, (layer) => layer + 1));
  const middle = { x: (LEFT + width) / 2, y: height - 4, class: "tick-x" };
  parts.push(svg("text", middle, t("attention.layer")));
  return parts;
}
