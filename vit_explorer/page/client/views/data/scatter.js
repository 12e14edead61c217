// Every picture as a point: what the head reads of it, on two principal components.

import { nameOf } from "../../base/class_names.js";
import { el, fitCanvas, keepSize, replace, segmented, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { classColour, frequentClasses } from "../../maps/class_colours.js";
import { range } from "../../maps/pixels.js";
import { askPoints, stopDataJob, thumbnailOf } from "../../state/data_set.js";

const SIDE = 4; // of a point, in CSS pixels
const REACH = 14; // how far from a point the pointer still means it
const PADDING = 10;
const OTHER = -1;

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
  const canvas = el("canvas", {
    class: "data-points",
    role: "img",
    "aria-label": t("data.points.label"),
    onpointermove: point,
    onpointerleave: () => mark(-1),
    onclick: point,
  });
  const legend = el("p", { class: "note data-legend" });
  const axes = el("p", { class: "note" });
  const picture = el("img", { alt: "" });
  const says = el("span");
  const tip = el("figure", { class: "data-tip", hidden: true }, picture, says);
  const box = el("div", { class: "data-points-box" }, canvas, tip);
  const found = el("div", { class: "data-scatter", hidden: true }, colour.node, legend, box, axes);
  const head = el("div", { class: "data-open-head" }, el("h3", {}, t("data.points")), ask, stop, progress.node);
  const node = el("div", { class: "card data-card" }, head, el("p", { class: "note" }, t("data.points.help")), found);
  const size = keepSize(box, () => store.get().dataPoints && paint(store.get()));
  let placed = new Float32Array(0); // x and y of each point, in CSS pixels
  let drawn = [];

  function point(event) {
    const bounds = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let [best, least] = [-1, REACH ** 2];
    for (let at = 0; at < placed.length; at += 2) {
      const far = (placed[at] - x) ** 2 + (placed[at + 1] - y) ** 2;
      if (far < least) [best, least] = [at / 2, far];
    }
    mark(best);
  }

  /** @param {number} at */
  function mark(at) {
    tip.hidden = at < 0;
    const { dataPoints, dataSet } = store.get();
    if (at < 0 || !dataPoints) return;
    const place = dataPoints.places[at];
    const { classes, labels, predicted, probability } = dataSet.table;
    const [label, taken] = [labels[place], predicted[place]].map((one) => nameOf(classes[one]));
    const url = thumbnailOf(dataSet, place);
    if (picture.getAttribute("src") !== url) picture.src = url;
    const words = labels[place] === predicted[place] ? "data.right" : "data.wrong";
    setText(says, `${t(words, { label, predicted: taken })} · ${percent(probability[place])}`);
    const [x, y] = placed.subarray(2 * at, 2 * at + 2);
    tip.style.left = `${x}px`;
    tip.style.top = `${y}px`;
    tip.classList.toggle("leftwards", x > size.width / 2);
    tip.classList.toggle("upwards", y > size.height / 2);
  }

  /** @param {State} state */
  function paint(state) {
    const { dataPoints } = state;
    if (!size.width) return;
    const { groups, entries } = groupsOf(state);
    const [wide] = fitCanvas(canvas, size.width, size.height);
    const ratio = wide / size.width;
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    placed = placedIn(dataPoints, size);
    const side = SIDE * ratio;
    // The first entry stands for most points: the others are drawn over it.
    for (const [at, { colour: ink }] of entries.entries()) {
      brush.fillStyle = ink;
      for (let one = 0; one < groups.length; one += 1)
        if (groups[one] === at) brush.fillRect(placed[2 * one] * ratio - side / 2, placed[2 * one + 1] * ratio - side / 2, side, side);
    }
    replace(legend, entries.flatMap(({ colour: ink, name }) => {
      const key = el("span", { class: "data-key" }, name);
      key.style.setProperty("--colour", ink);
      return [key];
    }));
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
    paint(state);
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
    const known = frequentClasses(values.filter((one) => one !== OTHER));
    const name = (one) => (dataColour === "class" ? nameOf(classes[one]) : t("data.looks.kind", { number: one + 1 }));
    const others = { colour: grey, name: t(dataColour === "class" ? "data.points.others" : "data.points.unclustered") };
    const entries = [others, ...known.map((one) => ({ colour: classColour(known, one), name: name(one) }))];
    return { groups: values.map((one) => 1 + known.indexOf(one)), entries };
  }
}

/** Where each point stands, the whole within the box. */
function placedIn({ x, y }, { width, height }) {
  const found = new Float32Array(2 * x.length);
  const along = (values, whole, at, flipped) => {
    const [low, high] = range(values);
    values.forEach((value, one) => {
      const share = high > low ? (value - low) / (high - low) : 0.5;
      found[2 * one + at] = PADDING + (flipped ? 1 - share : share) * (whole - 2 * PADDING);
    });
  };
  along(x, width, 0, false);
  along(y, height, 1, true);
  return found;
}
