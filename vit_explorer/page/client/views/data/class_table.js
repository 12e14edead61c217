// Recall, precision and accuracy of each class as bars, sorted by the one that is chosen.

import { nameOf } from "../../base/class_names.js";
import { el, replace } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createShareBar } from "../../charts/share_bar.js";
import { measures } from "../../state/data_set.js";
import { rankedBy } from "../../state/predictions.js";

const MEASURES = ["recall", "precision", "accuracy"];

/** @param {Context} context */
export function createClassTable({ store }) {
  const heads = ["pictures", ...MEASURES].map((name) => {
    const button = el("button", { type: "button", onclick: () => sortBy(name) }, t(`data.classes.${name}`));
    return { name, node: el("th", { scope: "col", title: t(`data.classes.${name}.help`) }, button) };
  });
  const body = el("tbody");
  const first = el("th", { scope: "col" }, t("data.classes.class"));
  const head = el("thead", {}, el("tr", {}, first, heads.map(({ node }) => node)));
  const scroll = el(
    "div",
    { class: "data-classes", tabindex: "0", role: "region", "aria-label": t("data.classes") },
    el("table", {}, head, body),
  );
  const node = el("div", { class: "card data-card" }, el("h3", {}, t("data.classes")), scroll);
  let drawn = [];

  /** @param {string} name */
  function sortBy(name) {
    const { by, rising } = store.get().dataClasses;
    store.set({ dataClasses: { by: name, rising: by === name ? !rising : name !== "pictures" } });
  }

  /** @param {number} index */
  function choose(index) {
    const { dataFilter } = store.get();
    store.set({ dataFilter: { ...dataFilter, label: dataFilter.label === index ? -1 : index } });
  }

  function row(table, index) {
    const found = measures(table);
    const name = el("button", { type: "button", class: "in-text", onclick: () => choose(index) }, nameOf(table.classes[index]));
    const share = (value) =>
      el("td", {}, el("span", { class: "data-share" }, el("span", {}, percent(value)), createShareBar(value)));
    return el(
      "tr",
      { dataset: { index: String(index) } },
      el("th", { scope: "row" }, name),
      el("td", { class: "data-number" }, found.pictures[index].toLocaleString()),
      MEASURES.map((measure) => share(found[measure][index])),
    );
  }

  /** @param {State} state */
  function draw({ dataSet, dataClasses, dataFilter }) {
    const { table } = dataSet;
    const { by, rising } = dataClasses;
    for (const { name, node: cell } of heads)
      cell.setAttribute("aria-sort", name !== by ? "none" : rising ? "ascending" : "descending");
    if (drawn[0] !== table || drawn[1] !== dataClasses) {
      replace(body, rankedBy(measures(table)[by], rising).map((index) => row(table, index)));
      drawn = [table, dataClasses];
    }
    for (const line of body.rows) line.classList.toggle("chosen", Number(line.dataset.index) === dataFilter.label);
  }
  return { node, draw };
}
