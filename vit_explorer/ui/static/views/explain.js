// Explain: every heatmap over the picture, side by side, under one toolbar.

import { createColourBar } from "../colour_bar.js";
import { manner, tableFor } from "../colours.js";
import { el, replace, segmented, setText } from "../dom.js";
import { percent, short } from "../format.js";
import { cellOf, tokenName } from "../geometry.js";
import { createGlossary } from "../glossary.js";
import { createPatchCanvas } from "../patch_canvas.js";
import { cropAspect, cropIn } from "../picture.js";
import { overlay } from "../pixels.js";
import { queryToken } from "../store.js";
import { t } from "../words.js";

const DRAWN_BY = ["result", "image", "hover", "pinned"];
const TOOLS = ["opacity", "colormap", "smooth", "whole", "shared"];

export function createExplainView({ store }) {
  const gallery = el("div", { class: "gallery" });
  const skipped = el("p", { class: "note skipped" });
  const tools = createToolbar(store);
  const node = el("section", { class: "view view-explain" }, tools.node, gallery, skipped);
  let cards = [];
  let shown = null;
  let seenCard = null;

  function rebuild(state) {
    const { result } = state;
    shown = result;
    const focused = seenCard?.node.contains(document.activeElement);
    seenCard = createSeenCard(store, result);
    const maps = result.maps.map((map) => createCard(store, map));
    cards = [seenCard, ...maps];
    replace(
      gallery,
      cards.map((card) => card.node),
      createReadingCard(),
    );
    if (focused) seenCard.node.querySelector("canvas").focus();
    setText(skipped, describeSkipped(result.skipped));
  }

  function draw(state) {
    if (!state.result || state.tab !== "explain") return;
    if (shown !== state.result) rebuild(state);
    const aspect = state.whole
      ? state.result.picture.width / state.result.picture.height
      : cropAspect(state.result);
    gallery.style.setProperty("--aspect", aspect.toFixed(4));
    tools.show(state);
    for (const card of cards) card.draw(state);
  }

  store.on([...DRAWN_BY, ...TOOLS], draw);
  return { node, draw: () => draw(store.get()) };
}

/** Methods left out, those with the same reason together. */
function describeSkipped(skipped) {
  const byReason = Map.groupBy(Object.keys(skipped), (title) => skipped[title]);
  const parts = [...byReason].map(([why, titles]) =>
    t("explain.skipped", { titles: titles.join(", "), why }),
  );
  return parts.join(" ");
}

function createToolbar(store) {
  const target = el("strong");
  const share = el("span");
  const pair = (label, off, on, key) =>
    segmented(
      t(label),
      [
        [false, t(off)],
        [true, t(on)],
      ],
      (value) => store.set({ [key]: value }),
    );
  const extent = pair("tool.extent", "tool.crop", "tool.whole", "whole");
  const scale = pair("tool.scale", "tool.own", "tool.shared", "shared");
  const node = el(
    "div",
    { class: "toolbar" },
    el("span", { class: "tool tool-target" }, t("explain.target"), target, share),
    extent.node,
    el("span", { class: "tool" }, t("tool.scale"), scale.node),
  );

  function show(state) {
    setText(target, state.result.target?.label ?? t("explain.target.none"));
    const chosen = state.result.target;
    setText(share, chosen ? percent(chosen.probability) : "");
    extent.show(state.whole);
    scale.show(state.shared);
  }
  return { node, show };
}

/** The limits of all maps of one unit together, so that equal colours are equal values. */
function sharedLimits(maps, unit) {
  const alike = maps.filter((map) => map.unit === unit);
  return [
    Math.min(...alike.map((map) => map.limits[0])),
    Math.max(...alike.map((map) => map.limits[1])),
  ];
}

function createCard(store, map) {
  const bar = createColourBar(short);
  const here = el("span", { class: "pill here", hidden: true });
  const canvas = createPatchCanvas({ store, label: map.text, paint, region, keyboard: false });
  const empty = map.values.every((value) => value === 0);
  const remark = empty ? t("explain.zero") : map.class_specific ? "" : t("explain.noClass");
  const caveat = el(
    "div",
    { class: "limits", hidden: true, id: `vx-caveat-${map.name}` },
    el("p", {}, map.caveat),
    el("p", { class: "note" }, map.source),
  );
  const caveatButton = el(
    "button",
    {
      type: "button",
      class: "limits-button",
      "aria-label": t("explain.caveat", { title: map.title }),
      "aria-expanded": "false",
      "aria-controls": caveat.id,
      onclick: () => {
        caveat.hidden = !caveat.hidden;
        caveatButton.setAttribute("aria-expanded", String(!caveat.hidden));
      },
    },
    "?",
  );
  const node = el(
    "figure",
    { class: "card", dataset: { method: map.name } },
    el(
      "div",
      { class: "card-picture" },
      canvas.canvas,
      remark ? el("span", { class: "pill remark" }, remark) : null,
      here,
      caveat,
    ),
    el(
      "figcaption",
      {},
      el("h3", {}, map.title, caveatButton),
      el("p", { class: "caption" }, map.caption),
      bar.node,
    ),
  );

  function region(state, width, height) {
    return state.whole ? cropIn(state.result, width, height) : [0, 0, width, height];
  }

  function limits(state) {
    return state.shared ? sharedLimits(state.result.maps, map.unit) : map.limits;
  }

  function paint(context, width, height, state) {
    const { whole, result } = state;
    const how = manner(state, {
      signed: map.signed,
      limits: limits(state),
      region: whole ? cropIn(result, width, height) : undefined,
    });
    const base = state.image.pixels(width, height, whole);
    context.putImageData(overlay(base, map.values, result.model.grid, how), 0, 0);
  }

  function draw(state) {
    canvas.draw();
    const cell = cellOf(state.result.model, queryToken(state));
    const value = cell ? map.values[cell[0] * state.result.model.grid[1] + cell[1]] : null;
    const [low, high] = limits(state);
    const alone =
      !state.shared || state.result.maps.filter(({ unit }) => unit === map.unit).length === 1;
    const ends = empty && alone ? [0, 0] : [low, high];
    bar.show(tableFor(state.colormap, map.signed), ends, value);
    here.hidden = value === null;
    setText(here, value === null ? "" : short(value));
  }
  return { node, draw };
}

/** The pixels alone; it takes the keyboard for all maps, so that one stop is enough. */
function createSeenCard(store, result) {
  const { seen, model } = result;
  const text = t("explain.seen.caption", {
    width: seen.width,
    height: seen.height,
    patches: model.grid.join("×"),
  });
  const says = el("p", { class: "visually-hidden", "aria-live": "polite" });
  const canvas = createPatchCanvas({ store, label: t("explain.seen.keys"), paint, region });

  function region(state, width, height) {
    if (!state.whole) return [0, 0, width, height];
    const scale = Math.min(width / seen.width, height / seen.height);
    const [left, top] = [(width - seen.width * scale) / 2, (height - seen.height * scale) / 2];
    return [left, top, width - left, height - top];
  }

  function paint(context, width, height, state) {
    const [left, top, right, bottom] = region(state, width, height);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = seen.width >= 128;
    context.drawImage(state.seen, left, top, right - left, bottom - top);
  }

  function draw(state) {
    canvas.draw();
    const query = queryToken(state);
    const cell = cellOf(model, query);
    if (!cell) return;
    const at = cell[0] * model.grid[1] + cell[1];
    const values = result.maps.map((map) => `${map.title} ${short(map.values[at])}`);
    setText(says, `${tokenName(model, query)}: ${values.join(", ")}`);
  }

  const node = el(
    "figure",
    { class: "card card-seen" },
    el("div", { class: "card-picture" }, canvas.canvas),
    el(
      "figcaption",
      {},
      el("h3", {}, t("explain.seen")),
      el("p", { class: "caption" }, text),
      says,
    ),
  );
  return { node, draw };
}

function createReadingCard() {
  const lines = ["scale", "point", "trust"].map((key) => el("p", {}, t(`explain.reading.${key}`)));
  const words = createGlossary(["class", "logit", "residual", "pin"]);
  return el("div", { class: "card card-reading" }, el("h3", {}, t("explain.reading")), lines, words);
}
