// Token norms: where they stand out, a map a layer, and the charts that belong to them.

import { el, setText } from "../../base/dom.js";
import { percent, short } from "../../base/format.js";
import { sentences, t } from "../../base/words.js";
import { createHistogram, createTaken } from "../../charts/norm_charts.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createLayerStrip } from "../../controls/layer_strip.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { manner, tableFor } from "../../maps/colours.js";
import { cellOf, tokenName } from "../../maps/geometry.js";
import { overlay, range } from "../../maps/pixels.js";
import { queryToken } from "../../state/store.js";

const RING = [
  ["#000", 5],
  ["#fff", 2.5],
];

/** @param {Context} context */
export function createNorms(context) {
  const { store } = context;
  const canvas = createPatchCanvas({ store, label: t("layers.norms.canvas"), paint });
  const bar = createColourBar(short);
  const strip = createLayerStrip({ store, label: t("layers.norms.strip") });
  const says = el("p", { class: "says", "aria-live": "polite" });
  const histogram = createHistogram();
  const taken = createTaken(store);
  const menu = createFigureMenu(context, "token-norms", {
    title: () => t("layers.norms.title"),
    detail: (state) => t("heads.layer.one", { layer: state.layer + 1 }),
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: state.result.model.grid[1] / state.result.model.grid[0],
      bar: { table: tableFor(state.colormap), limits: shown.ranges[state.layer], format: short },
    }),
    table: (state) => gridTable(shown.layers[state.layer].norms, state.result.model.grid, "norm"),
    code: ({ layer }) => ({ figure: "token-norms", layer }),
  });
  const node = el(
    "section",
    { class: "card depth-card" },
    el("h3", {}, t("layers.norms.title"), menu),
    el("p", { class: "note" }, t("layers.norms.help")),
    el(
      "div",
      { class: "depth-maps" },
      el("div", { class: "stage" }, canvas.canvas, bar.node),
      el(
        "div",
        { class: "depth-side" },
        strip.node,
        el("p", { class: "note" }, t("layers.norms.strip.help")),
        says,
        el(
          "div",
          { class: "norm-plots" },
          figure(t("layers.norms.histogram"), histogram.node, t("layers.norms.histogram.help")),
          figure(t("layers.norms.taken"), taken.node, t("layers.norms.taken.help")),
        ),
      ),
    ),
  );
  let shown = null;

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(context2d, width, height, state) {
    if (!shown) return;
    const { norms, outliers } = shown.layers[state.layer];
    const { grid } = state.result.model;
    const how = manner(state, { limits: shown.ranges[state.layer] });
    const image = overlay(state.image.pixels(width, height), norms, grid, how);
    context2d.putImageData(image, 0, 0);
    const [wide, high] = [width / grid[1], height / grid[0]];
    for (const [colour, line] of RING) {
      context2d.strokeStyle = colour;
      context2d.lineWidth = line;
      for (const patch of outliers) {
        const [x, y] = [(patch % grid[1]) + 0.5, Math.floor(patch / grid[1]) + 0.5];
        context2d.beginPath();
        context2d.ellipse(x * wide, y * high, wide * 0.62, high * 0.62, 0, 0, 2 * Math.PI);
        context2d.stroke();
      }
    }
  }

  /** @param {State} state */
  function draw(state, { layers }) {
    if (shown?.layers !== layers)
      shown = { layers, ranges: layers.map(({ norms }) => range(norms)) };
    canvas.draw();
    const table = tableFor(state.colormap);
    const here = layers[state.layer];
    const value = normOf(state, here);
    bar.show(table, shown.ranges[state.layer], value);
    strip.draw(state, {
      maps: layers.map(({ norms }) => norms),
      table,
      limits: (layer) => shown.ranges[layer],
      caption: (layer) => {
        const [low, high] = shown.ranges[layer].map((norm) => short(Number(norm.toPrecision(2))));
        return t("layers.norms.caption", { layer: layer + 1, low, high });
      },
    });
    setText(says, describe(state, here, value));
    histogram.draw(here, value);
    taken.draw(state, layers);
  }
  return { node, draw };
}

const figure = (title, plot, help) =>
  el("div", { class: "norm-plot" }, el("h4", {}, title), plot, el("p", { class: "note" }, help));

/** @param {State} state */
function normOf(state, { norms, prefix }) {
  const token = queryToken(state);
  const cell = cellOf(state.result.model, token);
  return cell ? norms[token - state.result.model.prefix.length] : prefix[token];
}

/** @param {State} state */
function describe(
  state,
  { outliers, median, threshold, class_share: share, mean_share: mean },
  value,
) {
  const { model } = state.result;
  const own = t("layers.norms.one", { token: tokenName(model, queryToken(state)), value: short(value) });
  const values = { layer: state.layer + 1, median: short(median), threshold: short(threshold) };
  if (!outliers.length) return sentences(t("layers.norms.says.none", values), own);
  const found = t(outliers.length === 1 ? "layers.norms.says.one" : "layers.norms.says.some", {
    ...values,
    count: outliers.length,
    share: percent(outliers.length / (model.grid[0] * model.grid[1])),
  });
  const taken =
    share === null
      ? t("layers.norms.says.mean", { mean: percent(mean) })
      : t("layers.norms.says.taken", { share: percent(share), mean: percent(mean) });
  return sentences(found, taken, own);
}
