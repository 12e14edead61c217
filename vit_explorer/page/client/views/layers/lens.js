// The logit lens: what the model would say if it ended after each layer, as a table and a curve.

import { nameOf } from "../../base/class_names.js";
import { el, replace, setText } from "../../base/dom.js";
import { isValued, numberOf, targetName, told, twinOf, writerOf } from "../../base/outputs.js";
import { said, sentences, t } from "../../base/words.js";
import { createLineChart } from "../../charts/line_chart.js";
import { setShare } from "../../charts/share_bar.js";
import { createFigureMenu } from "../../controls/figure_menu.js";

/** Labels such as "tabby, tabby cat" by their first name: a cell has room for one. */
const shortly = (label) => nameOf(label).split(",")[0];

/** @param {Context} context */
export function createLens(context) {
  const { store } = context;
  const head = el("tr");
  const body = el("tbody");
  const table = el(
    "table",
    { class: "lens-table" },
    el("caption", { class: "visually-hidden" }, t("layers.lens.table")),
    el("thead", {}, head),
    body,
  );
  const chart = createLineChart({
    onPick: (depth) => store.set({ layer: Math.max(0, depth - 1) }),
  });
  const heading = el("h4");
  const legend = el("p", { class: "note chart-legend" });
  const says = el("p", { class: "says lens-says", "aria-live": "polite" });
  const refusal = el("p", { class: "caption", hidden: true });
  const figures = el(
    "div",
    { class: "lens-figures" },
    el(
      "div",
      { class: "lens-box", tabindex: "0", role: "region", "aria-label": t("layers.lens.table") },
      table,
    ),
    el("div", { class: "lens-curve" }, heading, chart.node, legend, says),
  );
  const menu = createFigureMenu(context, "logit-lens", {
    title: () => t("layers.lens.title"),
    targeted: () => true,
    figure: () => ({ svg: chart.node }),
    table: ({ result }) => rowsOf(shown, result.model),
    code: () => ({ figure: "logit-lens" }),
  });
  const node = el(
    "section",
    { class: "card depth-card" },
    el("h3", {}, t("layers.lens.title"), menu),
    el("p", { class: "note" }, t("layers.lens.help")),
    refusal,
    figures,
  );
  let shown = null;
  let rows = [];

  function rebuild(lens, { model, target }) {
    const places = lens.predictions[0].map((_, at) =>
      el("th", { scope: "col" }, t("layers.lens.place", { place: at + 1 })),
    );
    replace(head, el("th", { scope: "col" }, t("layers.lens.after")), places);
    rows = lens.predictions.map((best, depth) => {
      const button = el(
        "button",
        {
          type: "button",
          disabled: depth === 0,
          "aria-label": t("layers.lens.row", { layer: depth }),
          onclick: () => store.set({ layer: depth - 1 }),
        },
        depth ? String(depth) : t("layers.lens.start"),
      );
      const cells = best.map((each) => createCell(each, lens.target));
      return el("tr", {}, el("th", { scope: "row" }, button), cells);
    });
    replace(body, rows);
    const aim = lens.curves.find(({ index }) => index === lens.target);
    replace(
      legend,
      el("span", { class: "key key-test" }, aimOf(aim, target)),
      lens.curves.length > 1 ? el("span", { class: "key" }, t(`layers.lens.others${twinOf(model)}`)) : null,
    );
  }

  /** @param {State} state */
  function draw(state, lens) {
    node.hidden = !lens;
    if (!lens) return;
    refusal.hidden = !lens.error;
    figures.hidden = Boolean(lens.error);
    menu.hidden = Boolean(lens.error);
    setText(refusal, lens.error ? said(lens.error) : "");
    if (lens.error) return;
    if (shown !== lens) rebuild(lens, state.result);
    shown = lens;
    const { model } = state.result;
    setText(heading, t(`layers.lens.curve${twinOf(model)}`));
    const depth = state.layer + 1;
    rows.forEach((row, at) => row.classList.toggle("chosen", at === depth));
    const curves = lens.curves.map(({ index, values }) => ({
      kind: index === lens.target ? "test" : "train",
      points: values.map((value, at) => [at, value]),
    }));
    curves.sort((one, other) => one.kind.localeCompare(other.kind) * -1);
    chart.draw({
      lines: curves,
      last: lens.predictions.length - 1,
      at: depth,
      title: t("layers.lens.axis"),
      valued: isValued(model),
      text: describe(lens, depth, state.result),
    });
    setText(says, describe(lens, depth, state.result));
  }
  return { node, draw };
}

/**
 * A target's own name on the page, or a label's first.
 * @param {Prediction} prediction
 */
const aimOf = ({ index, label }, target) =>
  target?.index === index ? targetName(target).split(",")[0] : shortly(label);

/**
 * Classes and probabilities after each layer; a model may know fewer than the usual five.
 * @param {{ predictions: Prediction[][] }} lens
 * @param {Model} model
 */
function rowsOf({ predictions }, model) {
  const number = isValued(model) ? "value" : "p";
  const names = predictions[0].flatMap((_, at) => [`class ${at + 1}`, `${number} ${at + 1}`]);
  const lines = predictions.map((best, depth) => [
    depth,
    ...best.flatMap((each) => [each.label, numberOf(each)]),
  ]);
  return [["depth", ...names], ...lines];
}

/** @param {Prediction} prediction */
function createCell(prediction, target) {
  const { index, label, probability } = prediction;
  const cell = el(
    "td",
    { title: nameOf(label), class: index === target ? "target" : "" },
    el("span", { class: "label" }, shortly(label)),
    el("span", { class: "share" }, told(prediction)),
  );
  setShare(cell, probability);
  return cell;
}

/**
 * The target at the chosen depth, and from where on it leads.
 * @param {any} lens
 * @param {number} depth
 * @param {Result} result
 */
function describe(lens, depth, { model, target }) {
  const aim = lens.curves.find(({ index }) => index === lens.target);
  const [label, write] = [aimOf(aim, target), writerOf(model)];
  const [ended, twin] = [depth === aim.values.length - 1, twinOf(model)];
  const now = t(ended ? `layers.lens.says.end${twin}` : `layers.lens.says${twin}`, {
    layer: depth,
    label,
    share: write(aim.values[depth]),
    end: write(aim.values.at(-1)),
  });
  if (lens.settled === null) return now;
  return sentences(now, t(leadOf(lens), { layer: lens.settled, label }));
}

/** Whether the target leads at the end, did so before, or never does. */
function leadOf({ settled, predictions, target }) {
  if (settled < predictions.length) return "layers.lens.settled";
  return predictions.some(([first]) => first.index === target) ? "layers.lens.lost" : "layers.lens.never";
}
