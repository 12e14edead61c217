// The lens of every patch: the explained class's probability, or the likeliest class, at each layer.

import { nameOf } from "../../base/class_names.js";
import { el, replace, segmented, setText } from "../../base/dom.js";
import { isValued, targetName, twinOf, writerOf } from "../../base/outputs.js";
import { said, t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createLayerStrip } from "../../controls/layer_strip.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { zoomedToken } from "../../controls/patch_zoom.js";
import { classColour, classScale, frequentClasses } from "../../maps/class_colours.js";
import { manner, tableFor } from "../../maps/colours.js";
import { cellOf, extremePatch, tokenName } from "../../maps/geometry.js";
import { overlay, range } from "../../maps/pixels.js";
import { patchLensOf } from "../../server/depth_data.js";

export const KINDS = ["target", "top"];

/** @param {Context} context */
export function createPatchLens(context) {
  const { store } = context;
  const canvas = createPatchCanvas({ store, label: t("layers.patches.canvas"), paint });
  const bar = createColourBar((value) => writerOf(store.get().result.model)(value));
  const strip = createLayerStrip({ store, label: t("layers.patches.strip") });
  const says = el("p", { class: "says", "aria-live": "polite" });
  const legend = el("p", { class: "note class-legend" });
  const kind = segmented(
    t("layers.patches.kind"),
    KINDS.map((name) => [name, t(`layers.patches.kind.${name}`)]),
    (patchLens) => store.set({ patchLens }),
  );
  const menu = createFigureMenu(context, (state) => `patch-lens-${kindOf(state)}`, {
    title: () => t("layers.patches.title"),
    targeted: (state) => kindOf(state) === "target",
    detail: (state) => t("heads.layer.one", { layer: state.layer + 1 }),
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: state.result.model.grid[1] / state.result.model.grid[0],
      ...(kindOf(state) === "target" ? { bar: barOf(state) } : {}),
    }),
    table: tableOf,
    code: (state) => ({ figure: "patch-lens", layer: state.layer, kind: kindOf(state) }),
  });
  const refusal = el("p", { class: "caption", hidden: true });
  const body = el(
    "div",
    { class: "depth-maps" },
    el("div", { class: "stage" }, canvas.canvas, bar.node),
    el("div", { class: "depth-side" }, kind.node, strip.node, legend, says),
  );
  const node = el(
    "section",
    { class: "card depth-card", dataset: { part: "patches" } },
    el("h3", {}, t("layers.patches.title"), menu),
    el("p", { class: "note" }, t("layers.patches.help")),
    refusal,
    body,
  );
  let scale = { of: null, limits: null, known: [], classes: null };

  /** Values have no order, so none is the likeliest. @param {State} state */
  const kindOf = ({ patchLens, result }) => (isValued(result.model) ? "target" : patchLens);

  /** What is told of the patches after each layer: a list a depth, from before the first block on. */
  const numbers = (state) => patchLensOf(state.result).value;

  /** @param {State} state */
  const barOf = (state) => ({
    table: tableFor(state.colormap),
    limits: scaleOf(numbers(state), state).limits,
    format: writerOf(state.result.model),
  });

  /** All layers share one scale, and one colour a class. */
  function scaleOf(found, { result }) {
    if (scale.of === found) return scale;
    const [low, high] = range(found.target.flat());
    const known = frequentClasses(found.classes?.flat() ?? []);
    const limits = isValued(result.model) ? [low, high] : [0, high || 1];
    scale = { of: found, limits, known, classes: found.classes && classScale(known) };
    return scale;
  }

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const base = state.image.pixels(width, height);
    const found = numbers(state);
    if (!found || found.error) {
      painter.putImageData(base, 0, 0);
      return;
    }
    const [depth, { limits, classes }, { grid }] = [state.layer + 1, scaleOf(found, state), state.result.model];
    const image =
      kindOf(state) === "target"
        ? overlay(base, found.target[depth], grid, manner(state, { limits }))
        : overlay(base, classes.values(found.classes[depth]), grid, {
            ...manner(state, { limits: classes.limits }),
            table: classes.table,
            smooth: false,
            floor: 1, // no class covers more than another
          });
    painter.putImageData(image, 0, 0);
  }

  /** @param {State} state */
  function tableOf(state) {
    const { grid } = state.result.model;
    const { target, classes, probabilities, labels } = numbers(state);
    const depth = state.layer + 1;
    if (kindOf(state) === "target")
      return gridTable(target[depth], grid, isValued(state.result.model) ? "value" : "probability");
    const lines = classes[depth].map((index, at) => [
      Math.floor(at / grid[1]) + 1,
      (at % grid[1]) + 1,
      labels[index],
      probabilities[depth][at],
      index,
    ]);
    return [["row", "column", "label", "probability", "class"], ...lines];
  }

  /** @param {State} state */
  function draw(state) {
    const { status, value: found } = patchLensOf(state.result);
    node.setAttribute("aria-busy", String(status === "loading"));
    const why = status === "failed" ? t("tables.failed") : found?.error ? said(found.error) : "";
    refusal.hidden = !why;
    setText(refusal, why);
    body.hidden = menu.hidden = Boolean(why);
    if (why || !found) return;
    const [chosen, { known, limits, classes }] = [kindOf(state), scaleOf(found, state)];
    const top = chosen === "top";
    kind.node.hidden = isValued(state.result.model);
    kind.show(chosen);
    canvas.draw();
    bar.node.hidden = top;
    bar.show(tableFor(state.colormap), limits);
    strip.draw(state, {
      maps: (top ? found.classes.map(classes.values) : found.target).slice(1),
      table: top ? classes.table : tableFor(state.colormap),
      limits: () => (top ? classes.limits : limits),
      caption: (layer) => String(layer + 1),
    });
    legend.hidden = !top;
    if (top) list(found, known, state.layer + 1);
    setText(says, describe(state, found, chosen));
  }

  /** Which colour is which class, and how many patches say it after this layer. */
  function list({ classes, labels }, known, depth) {
    const counts = known.map((index) => classes[depth].filter((one) => one === index).length);
    const rest = classes[depth].length - counts.reduce((sum, count) => sum + count, 0);
    const key = (colour, label, count) => {
      const mark = el("span", { class: "class-colour" });
      mark.style.setProperty("--colour", colour);
      return el("span", { class: "class-key" }, mark, `${label} ${count}`);
    };
    replace(
      legend,
      known.map((index, at) => key(classColour(known, index), shortly(labels[index]), counts[at])),
      rest ? key(classColour(known, -1), t("layers.patches.others"), rest) : null,
    );
  }

  return { node, draw };
}

/** Labels such as "tabby, tabby cat" by their first name. */
const shortly = (label) => nameOf(label).split(",")[0];

/**
 * What the chosen patch would be read as, and which patch says the class most.
 * @param {State} state
 */
function describe(state, { target, classes, probabilities, labels }, kind) {
  const { model, target: aim } = state.result;
  const [depth, token, write] = [state.layer + 1, zoomedToken(state), writerOf(model)];
  const patch = token - model.prefix.length;
  const values = { layer: depth, token: tokenName(model, token) };
  if (kind === "top") {
    const index = classes[depth][patch];
    const count = classes[depth].filter((one) => one === index).length;
    const share = write(probabilities[depth][patch]);
    return t("layers.patches.says.top", { ...values, label: shortly(labels[index]), share, count, all: classes[depth].length });
  }
  const best = extremePatch(target[depth], 0);
  const [row, column] = cellOf(model, best + model.prefix.length).map((at) => at + 1);
  const [share, most] = [patch, best].map((at) => write(target[depth][at]));
  return t(`layers.patches.says.target${twinOf(model)}`, { ...values, label: targetName(aim).split(",")[0], share, row, column, most });
}
