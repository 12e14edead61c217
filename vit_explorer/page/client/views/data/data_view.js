// Data: many labelled pictures at once: what is taken for what, the worst mistakes, and what they look at.

import { el, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { said, sentences, t } from "../../base/words.js";
import { measures, showHeldSet } from "../../state/data_set.js";
import { accuracyOf } from "../../state/predictions.js";
import { createClassTable } from "./class_table.js";
import { createConfusion } from "./confusion.js";
import { createFilters } from "./filters.js";
import { createLooks } from "./looks.js";
import { createOpenForm } from "./open_form.js";
import { createPictureList } from "./picture_list.js";
import { createQueryKeys } from "./query_keys.js";
import { createScatter } from "./scatter.js";

/** @param {Context} context */
export function createDataView(context) {
  const { store, setup } = context;
  if (!setup.training) return { node: createRefusal() };
  const form = createOpenForm(context);
  const summary = el("p", { class: "data-summary", "aria-live": "polite" });
  const note = el("p", { class: "note" });
  const parts = [createFilters, createConfusion, createClassTable, createPictureList, createLooks, createScatter, createQueryKeys];
  const [filters, confusion, classes, list, looks, scatter, queries] = parts.map((create) => create(context));
  const found = el(
    "div",
    { class: "data-found", hidden: true },
    el("div", { class: "data-head" }, summary, note),
    filters.node,
    el("div", { class: "data-main" }, el("div", { class: "data-numbers" }, confusion.node, classes.node), list.node),
    looks.node,
    scatter.node,
    queries.node,
  );
  const node = el("section", { class: "view view-data", dataset: { look: "none" } }, form.node, found);

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "data") return;
    node.dataset.theme = state.theme; // its colours are drawn with
    form.draw(state);
    const { dataSet, dataWanted } = state;
    if (dataWanted && !dataSet) showHeldSet(context);
    found.hidden = !dataSet;
    if (!dataSet) return;
    const { of, data, count, table } = dataSet;
    const classesSeen = measures(table).pictures.filter(Boolean).length;
    const values = { model: of || t("data.unnamed"), data, count: count.toLocaleString(), classes: classesSeen, accuracy: percent(accuracyOf(table)) };
    setText(summary, t("data.summary", values));
    const some = dataSet.pictures > 0 && dataSet.pictures < count;
    const missing = some ? t("data.missing", { found: dataSet.pictures, count }) : "";
    setText(note, sentences(said(dataSet.note), missing));
    note.hidden = !note.textContent;
    for (const part of [filters, confusion, classes, list, looks, scatter, queries]) part.draw(state);
  }
  store.effect(draw);
  return { node };
}

function createRefusal() {
  const words = el("p", { class: "note" }, t("data.off"));
  const card = el("div", { class: "card data-card" }, el("h3", {}, t("data.open.title")), words);
  return el("section", { class: "view view-data", dataset: { look: "none" } }, card);
}
