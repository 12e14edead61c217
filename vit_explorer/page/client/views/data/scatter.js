// Every picture as a point: what the head reads of it, on two principal components.

import { nameOf } from "../../base/class_names.js";
import { el, segmented, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { askPoints, stopDataJob, thumbnailOf } from "../../state/data_set.js";
import { createPointCloud, groupsByValue, OTHER } from "./point_cloud.js";

/** @param {Context} context */
export function createScatter(context) {
  const { store } = context;
  const ask = el("button", { type: "button", class: "primary", onclick: () => askPoints(context) }, t("data.points.ask"));
  const stop = el("button", { type: "button", onclick: () => stopDataJob(store) }, t("data.stop"));
  const progress = createProgress(t("data.points.progress"), "data.progress");
  const colour = segmented(
    t("data.points.colour"),
    ["class", "error", "kind"].map((one) => [one, t(`data.points.${one}`)]),
    (dataColour) => store.set({ dataColour }),
  );
  const cloud = createPointCloud({ label: t("data.points.label"), tell });
  const axes = el("p", { class: "note" });
  const found = el("div", { class: "data-scatter", hidden: true }, colour.node, cloud.legend, cloud.node, axes);
  const head = el("div", { class: "data-open-head" }, el("h3", {}, t("data.points")), ask, stop, progress.node);
  const node = el("div", { class: "card data-card" }, head, el("p", { class: "note" }, t("data.points.help")), found);
  let drawn = [];

  /** @param {number} at */
  function tell(at) {
    const { dataPoints, dataSet } = store.get();
    if (!dataPoints) return null;
    const place = dataPoints.places[at];
    const { classes, labels, predicted, probability } = dataSet.table;
    const [label, taken] = [labels[place], predicted[place]].map((one) => nameOf(classes[one]));
    const words = labels[place] === predicted[place] ? "data.right" : "data.wrong";
    const said = `${t(words, { label, predicted: taken })} · ${percent(probability[place])}`;
    return { url: thumbnailOf(dataSet, place), words: said };
  }

  /** @param {State} state */
  function draw(state) {
    const { dataSet, dataJob, dataPoints, dataColour, dataLooks, theme } = state;
    node.hidden = !dataSet.pictures;
    const working = dataJob?.what === "points";
    ask.hidden = Boolean(dataPoints);
    ask.disabled = Boolean(dataJob);
    stop.hidden = !working;
    progress.show(working ? dataJob : null);
    found.hidden = !dataPoints;
    if (!dataPoints) return;
    colour.show(dataColour);
    const [x, y] = dataPoints.explained.map(percent);
    setText(axes, t("data.points.axes", { x, y }));
    const here = [dataPoints, dataColour, dataLooks, theme];
    if (here.every((one, at) => one === drawn[at])) return;
    drawn = here;
    cloud.show({ ...dataPoints, ...groupsOf(state) });
  }
  return { node, draw };

  /**
   * Which entry of the legend each point belongs to.
   * @param {State} state
   */
  function groupsOf({ dataSet, dataPoints, dataColour, dataLooks }) {
    const { classes, labels, predicted } = dataSet.table;
    const { places } = dataPoints;
    const style = getComputedStyle(node);
    const grey = style.getPropertyValue("--soft");
    if (dataColour === "error") {
      const entries = [
        { colour: grey, name: t("data.filter.right") },
        { colour: style.getPropertyValue("--accent"), name: t("data.filter.wrong") },
      ];
      return { groups: places.map((one) => Number(labels[one] !== predicted[one])), entries };
    }
    const kindOf = new Map((dataLooks?.places ?? []).map((place, at) => [place, dataLooks.clusters?.labels[at] ?? OTHER]));
    const value = (place) => (dataColour === "class" ? labels[place] : (kindOf.get(place) ?? OTHER));
    const values = places.map(value);
    const name = (one) => (dataColour === "class" ? nameOf(classes[one]) : t("data.looks.kind", { number: one + 1 }));
    const others = t(dataColour === "class" ? "data.points.others" : "data.points.unclustered");
    return groupsByValue(values, { name, others, grey });
  }
}
