// Queries and keys of a head over many pictures in one space: what attends lies near.

import { nameOf } from "../../base/class_names.js";
import { el, replace, segmented, setText } from "../../base/dom.js";
import { fixed, percent } from "../../base/format.js";
import { sentences, t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { tableFor } from "../../maps/colours.js";
import { cellOf, tokenName } from "../../maps/geometry.js";
import { askQueryKeys, stopDataJob, thumbnailOf } from "../../state/data_set.js";
import { createPointCloud, groupsByValue } from "./point_cloud.js";

// Below this correlation distances in the plane are no guide to attention.
const TELLING = 0.7;
const COLOURS = ["part", "row", "column", "class", "picture"];

/** @param {Context} context */
export function createQueryKeys(context) {
  const { store } = context;
  const ask = el("button", { type: "button", class: "primary", onclick: () => askQueryKeys(context) }, t("data.queries.ask"));
  const stop = el("button", { type: "button", onclick: () => stopDataJob(store) }, t("data.stop"));
  const progress = createProgress(t("data.points.progress"), "data.progress");
  const chooser = (name) => {
    const select = el("select", {
      id: `vx-data-queries-${name}`,
      onchange: () => askQueryKeys(context, { [name]: name === "layout" ? select.value : Number(select.value) }),
    });
    return { select, node: el("label", { class: "tool" }, t(`data.queries.${name}`), select) };
  };
  const [layer, head, layout] = ["layer", "head", "layout"].map(chooser);
  replace(layout.select, ["pca", "tsne"].map((one) => el("option", { value: one }, t(`data.queries.${one}`))));
  const colour = segmented(
    t("data.points.colour"),
    COLOURS.map((one) => [one, t(`data.queries.by.${one}`)]),
    (dataTokenColour) => store.set({ dataTokenColour }),
  );
  const cloud = createPointCloud({ label: t("data.queries.label"), tell });
  const trust = el("p", {}, "");
  const of = el("p", { class: "note" });
  const tools = el("div", { class: "toolbar" }, layer.node, head.node, layout.node, colour.node);
  const found = el("div", { class: "data-scatter", hidden: true }, tools, cloud.legend, cloud.node, trust, of);
  const heading = el("div", { class: "data-open-head" }, el("h3", {}, t("data.queries")), ask, stop, progress.node);
  const node = el("div", { class: "card data-card data-queries" }, heading, el("p", { class: "note" }, t("data.queries.help")), found);
  let drawn = [];

  /** @param {number} at */
  function tell(at) {
    const { dataQueryKeys: held, dataSet } = store.get();
    if (!held) return null;
    const { place, picture, token, isKey } = partsOf(held, at);
    const { classes, labels } = dataSet.table;
    const values = { token: tokenName(held, token), label: nameOf(classes[labels[place]]) };
    const words = t(isKey ? "data.queries.tip.key" : "data.queries.tip.query", values);
    return { url: thumbnailOf(dataSet, place), words, cell: placeOf(held, picture, token) };
  }

  /** @param {State} state */
  function draw(state) {
    const { dataSet, dataJob, dataQueryKeys: held, dataTokenColour, theme, colormap } = state;
    node.hidden = !dataSet.pictures;
    const working = dataJob?.what === "queries";
    ask.disabled = Boolean(dataJob);
    stop.hidden = !working;
    progress.show(working ? dataJob : null);
    found.hidden = !held;
    for (const { select } of [layer, head, layout]) select.disabled = Boolean(dataJob);
    if (!held) return;
    numbered(layer.select, held.layers, held.layer);
    numbered(head.select, held.heads, held.head);
    layout.select.value = held.layout;
    colour.show(dataTokenColour);
    const here = [held, dataTokenColour, theme, colormap];
    if (here.every((one, at) => one === drawn[at])) return;
    drawn = here;
    cloud.show({ ...held, ...groupsOf(state), hollow: (at) => partsOf(held, at).isKey });
    const agreement = { agreement: fixed(held.agreement, 2), drawn: fixed(held.drawn_agreement, 2) };
    const telling = held.drawn_agreement >= TELLING ? "data.queries.near" : "data.queries.far";
    setText(trust, sentences(t("data.queries.agreement", agreement), t(telling), held.biased ? t("data.queries.biased") : ""));
    const [x, y] = (held.explained ?? []).map(percent);
    const axes = held.explained ? t("data.points.axes", { x, y }) : t("data.queries.axes");
    const count = { count: held.places.length.toLocaleString(), shown: held.count.toLocaleString(), points: held.x.length.toLocaleString() };
    setText(of, sentences(t("data.queries.of", count), axes));
  }
  return { node, draw };

  /**
   * Which entry of the legend each point belongs to.
   * @param {State} state
   */
  function groupsOf({ dataSet, dataQueryKeys: held, dataTokenColour: by, colormap }) {
    const style = getComputedStyle(node);
    const grey = style.getPropertyValue("--soft");
    const parts = held.x.map((_, at) => partsOf(held, at));
    if (by === "part") {
      const entries = [
        { colour: style.getPropertyValue("--accent"), name: t("data.queries.query") },
        { colour: style.getPropertyValue("--ink"), name: t("data.queries.key"), outlined: true },
      ];
      return { groups: parts.map(({ isKey }) => Number(isKey)), entries };
    }
    if (by === "class" || by === "picture") {
      const { classes, labels } = dataSet.table;
      const values = parts.map(({ place, picture }) => (by === "class" ? labels[place] : picture));
      const name = (one) => (by === "class" ? nameOf(classes[one]) : t("data.queries.picture", { number: one + 1 }));
      return groupsByValue(values, { name, others: t(by === "class" ? "data.points.others" : "data.queries.others"), grey });
    }
    const axis = by === "row" ? 0 : 1;
    const steps = held.grid[axis];
    const table = tableFor(colormap);
    const inks = Array.from({ length: steps }, (_, step) => {
      const at = 3 * Math.round((255 * step) / Math.max(1, steps - 1));
      const name = step && step < steps - 1 ? undefined : t(`data.queries.${by}.${step ? "last" : "first"}`);
      return { colour: `rgb(${table[at]} ${table[at + 1]} ${table[at + 2]})`, name };
    });
    const others = { colour: grey, name: held.prefix.length ? t("data.queries.prefix") : undefined };
    return { groups: parts.map(({ token }) => 1 + (cellOf(held, token)?.[axis] ?? -1)), entries: [others, ...inks] };
  }
}

/** Which picture, token and side a point is. Queries of all pictures come first, then keys. */
function partsOf({ places, grid, prefix }, at) {
  const tokens = prefix.length + grid[0] * grid[1];
  const side = places.length * tokens;
  const within = at % side;
  const picture = Math.floor(within / tokens);
  return { place: places[picture], picture, token: within % tokens, isKey: at >= side };
}

/** Where a patch lies in its picture (left, top, right, bottom), as shares; undefined where it lies nowhere known. */
function placeOf(held, picture, token) {
  const [patch, seen] = [cellOf(held, token), held.cells[picture]];
  if (!patch || !seen) return undefined;
  const [[row, column], [rows, columns], [left, top, right, bottom]] = [patch, held.grid, seen];
  const across = (step) => left + ((right - left) * step) / columns;
  const down = (step) => top + ((bottom - top) * step) / rows;
  return [across(column), down(row), across(column + 1), down(row + 1)];
}

/** @param {HTMLSelectElement} select */
function numbered(select, count, chosen) {
  if (select.options.length !== count)
    replace(select, Array.from({ length: count }, (_, at) => el("option", { value: String(at) }, String(at + 1))));
  select.value = String(chosen);
}
