// What the pictures shown look at: their mean map, how much of it lies at the border, kinds of maps.

import { nameOf } from "../../base/class_names.js";
import { el, replace, setText } from "../../base/dom.js";
import { fixed, percent, short } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createProgress } from "../../controls/progress.js";
import { tableFor } from "../../maps/colours.js";
import { range, thumbnail } from "../../maps/pixels.js";
import { askLooks, modelOfSet, shownPlaces, stopDataJob, thumbnailOf } from "../../state/data_set.js";

const SAMPLES = 12;
// From here on a place takes in much more than its share: what is said of it is made to be seen.
const STRIKING = 2;

/** @param {Context} context */
export function createLooks(context) {
  const { store } = context;
  const ask = el("button", { type: "button", class: "primary", onclick: () => askLooks(context) });
  const stop = el("button", { type: "button", onclick: () => stopDataJob(store) }, t("data.stop"));
  const progress = createProgress(t("data.looks.progress"), "data.progress");
  const canvas = el("canvas", { class: "data-mean pixelated", role: "img", "aria-label": t("data.looks.mean") });
  const bar = createColourBar(short);
  const of = el("p", { class: "note" });
  const places = el("table", { class: "data-places" });
  const kinds = el("div", { class: "data-kinds" });
  const apart = el("p", { class: "note" });
  const mean = el("div", { class: "data-mean-box" }, el("h4", {}, t("data.looks.mean")), canvas, bar.node);
  const border = el("div", {}, el("h4", {}, t("data.looks.border")), places, el("p", { class: "note" }, t("data.looks.border.help")));
  const clusters = el("div", { class: "data-clusters" }, el("h4", {}, t("data.looks.kinds")), apart, kinds);
  const found = el("div", { class: "data-looks", hidden: true }, of, mean, border, clusters);
  const head = el("div", { class: "data-open-head" }, el("h3", {}, t("data.looks")), ask, stop, progress.node);
  const node = el("div", { class: "card data-card" }, head, el("p", { class: "note" }, t("data.looks.help")), found);
  let drawn = [];

  /** @param {State} state */
  function draw(state) {
    const { dataSet, dataJob, dataLooks, colormap } = state;
    node.hidden = !dataSet.pictures;
    const shown = shownPlaces(state).length;
    const count = Math.min(shown, dataSet.most);
    setText(ask, t(count < shown ? "data.looks.ask.first" : "data.looks.ask", { count }));
    ask.disabled = Boolean(dataJob) || !shown;
    const looking = dataJob?.what === "looks";
    stop.hidden = !looking;
    progress.show(looking ? dataJob : null);
    found.hidden = !dataLooks;
    if (!dataLooks) return;
    const here = [dataLooks, colormap, modelOfSet(state)];
    if (here.every((one, at) => one === drawn[at])) return;
    drawn = here;
    const method = t(`method.${dataLooks.method}.title`);
    const made = dataLooks.places.length.toLocaleString();
    const passed = dataLooks.count.toLocaleString();
    setText(of, t("data.looks.of", { method, count: made, shown: passed }));
    const limits = /** @type {Pair} */ (range(dataLooks.mean));
    paintMap(canvas, dataLooks.mean, dataLooks.grid, colormap, limits);
    bar.show(tableFor(colormap), limits);
    border.hidden = !dataLooks.border;
    if (dataLooks.border) drawPlaces(dataLooks.border);
    clusters.hidden = !dataLooks.clusters;
    if (dataLooks.clusters) drawKinds(state);
  }

  function drawPlaces({ ratio, corners }) {
    const rows = [["border", ratio], ...Object.entries(corners)];
    replace(
      places,
      rows.map(([name, times]) =>
        el(
          "tr",
          { class: times >= STRIKING ? "striking" : null },
          el("th", { scope: "row" }, t(`data.place.${name.replace(" ", "_")}`)),
          el("td", {}, t("data.times", { times: fixed(times, 2) })),
        ),
      ),
    );
  }

  /** @param {State} state */
  function drawKinds({ dataSet, dataLooks, colormap }) {
    const { labels, means, silhouette } = dataLooks.clusters;
    const clear = silhouette >= 0.5 ? "clear" : silhouette >= 0.25 ? "some" : "none";
    setText(apart, t(`data.looks.apart.${clear}`, { silhouette: fixed(silhouette, 2) }));
    const limits = /** @type {Pair} */ ([0, Math.max(...means.map((one) => range(one)[1]))]);
    const members = means.map((_, kind) => dataLooks.places.filter((__, at) => labels[at] === kind));
    replace(
      kinds,
      members.map((own, kind) => {
        const map = el("canvas", { class: "data-kind pixelated", role: "img", "aria-label": t("data.looks.kind", { number: kind + 1 }) });
        paintMap(map, means[kind], dataLooks.grid, colormap, limits);
        const pictures = own.slice(0, SAMPLES).map((place) =>
          el("img", { src: thumbnailOf(dataSet, place), alt: describe(dataSet.table, place), loading: "lazy" }),
        );
        const words = el("p", {}, el("strong", {}, t("data.looks.kind", { number: kind + 1 })), " ", summary(dataSet.table, own));
        return el("div", { class: "data-kind-row" }, map, el("div", {}, words, el("div", { class: "data-samples" }, pictures)));
      }),
    );
  }
  return { node, draw };
}

/** @param {HTMLCanvasElement} canvas */
function paintMap(canvas, values, [rows, columns], colormap, limits) {
  [canvas.width, canvas.height] = [columns, rows];
  canvas.style.setProperty("--aspect", String(columns / rows));
  canvas.getContext("2d").putImageData(thumbnail(values, [rows, columns], tableFor(colormap), limits), 0, 0);
}

const describe = ({ classes, labels, predicted }, place) =>
  t("data.wrong", { label: nameOf(classes[labels[place]]), predicted: nameOf(classes[predicted[place]]) });

/** How many, how many of them wrong, and the class that most of them have. */
function summary({ classes, labels, predicted }, places) {
  const counts = new Map();
  for (const place of places) counts.set(labels[place], (counts.get(labels[place]) ?? 0) + 1);
  const [[label, most]] = [...counts].sort((one, other) => other[1] - one[1]);
  const wrong = places.filter((place) => labels[place] !== predicted[place]).length;
  const share = percent(most / places.length);
  return t("data.looks.members", { count: places.length, wrong, label: nameOf(classes[label]), share });
}
