// Which pictures are shown, and in which order.

import { nameOf } from "../../base/class_names.js";
import { el, replace, segmented, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { shownPlaces } from "../../state/data_set.js";
import { ANY, SURE, UNSURE } from "../../state/predictions.js";

/** @param {Context} context */
export function createFilters({ store }) {
  /** @param {Partial<DataFilter>} changes */
  const choose = (changes) => store.set({ dataFilter: { ...store.get().dataFilter, ...changes } });
  const classOf = (key, name) => {
    const select = el("select", {
      id: `vx-data-${name}`,
      onchange: () => choose({ [name]: Number(select.value) }),
    });
    return { select, node: el("label", { class: "tool" }, t(key), select) };
  };
  const [label, predicted] = [classOf("data.filter.label", "label"), classOf("data.filter.predicted", "predicted")];
  const verdict = segmented(
    t("data.filter.verdict"),
    ["all", "wrong", "right"].map((one) => [one, t(`data.filter.${one}`)]),
    (chosen) => choose({ verdict: chosen }),
  );
  const share = (value) => Math.round(100 * value);
  const sure = segmented(
    t("data.filter.sureness"),
    [
      ["all", t("data.filter.any")],
      ["sure", t("data.filter.sure", { share: share(SURE) })],
      ["unsure", t("data.filter.unsure", { share: share(UNSURE) })],
    ],
    (chosen) => choose({ sure: chosen }),
  );
  const order = el(
    "select",
    { id: "vx-data-order", onchange: () => store.set({ dataOrder: order.value }) },
    ["mistakes", "unsure", "data"].map((one) => el("option", { value: one }, t(`data.order.${one}`))),
  );
  const clear = el("button", { type: "button", onclick: () => store.set({ dataFilter: ANY }) }, t("data.filter.clear"));
  const count = el("output", { class: "data-count", "aria-live": "polite" });
  const node = el(
    "div",
    { class: "toolbar data-filters", role: "group", "aria-label": t("data.filter.title") },
    label.node, predicted.node, verdict.node, sure.node,
    el("label", { class: "tool" }, t("data.order"), order),
    clear, count,
  );
  let named = null;

  /** @param {State} state */
  function draw(state) {
    const { dataSet, dataFilter, dataOrder } = state;
    const { classes } = dataSet.table;
    if (named !== classes) {
      for (const { select } of [label, predicted]) {
        const each = classes.map((name, index) => el("option", { value: String(index) }, nameOf(name)));
        replace(select, el("option", { value: "-1" }, t("data.filter.every")), each);
      }
      named = classes;
    }
    label.select.value = String(dataFilter.label);
    predicted.select.value = String(dataFilter.predicted);
    verdict.show(dataFilter.verdict);
    sure.show(dataFilter.sure);
    order.value = dataOrder;
    clear.disabled = Object.keys(ANY).every((key) => dataFilter[key] === ANY[key]);
    const shown = shownPlaces(state).length.toLocaleString();
    setText(count, t("data.count", { shown, count: dataSet.count.toLocaleString() }));
  }
  return { node, draw };
}
