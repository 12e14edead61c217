// Patches that are like the pinned one, layer by layer: cosine similarity of block outputs.

import { el, setText } from "../../base/dom.js";
import { cosine } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createLayerStrip } from "../../controls/layer_strip.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { manner, tableFor } from "../../maps/colours.js";
import { cellOf, extremePatch, tokenName } from "../../maps/geometry.js";
import { overlay } from "../../maps/pixels.js";
import { similarities } from "../../server/depth_data.js";
import { queryToken } from "../../state/store.js";

// Negative likeness is rare and shown as none.
const LIMITS = [0, 1];

/** @param {Context} context */
export function createLikeness(context) {
  const { store } = context;
  const title = el("span");
  const canvas = createPatchCanvas({ store, label: t("layers.likeness.canvas"), paint });
  const bar = createColourBar((value) => (value ? "1" : t("layers.likeness.low")));
  const strip = createLayerStrip({ store, label: t("layers.likeness.strip") });
  const says = el("p", { class: "says", "aria-live": "polite" });
  const menu = createFigureMenu(context, "token-similarity", {
    title: () => title.textContent,
    detail: (state) => t("heads.layer.one", { layer: state.layer + 1 }),
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: state.result.model.grid[1] / state.result.model.grid[0],
      bar: { table: tableFor(state.colormap), limits: LIMITS, format: String },
    }),
    table: (state) => gridTable(mapsOf(state)[state.layer], state.result.model.grid, "cosine"),
    code: (state) => ({ figure: "token-similarity", token: queryToken(state), layer: state.layer }),
  });
  const node = el(
    "section",
    { class: "card depth-card", dataset: { part: "likeness" } },
    el("h3", {}, title, menu),
    el("p", { class: "note" }, t("layers.likeness.help")),
    el(
      "div",
      { class: "depth-maps" },
      el("div", { class: "stage" }, canvas.canvas, bar.node),
      el("div", { class: "depth-side" }, strip.node, says),
    ),
  );
  let whole = true;

  /** @param {State} state */
  const mapsOf = (state) => similarities(state.result, whole, queryToken(state)).value;

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(context2d, width, height, state) {
    const base = state.image.pixels(width, height);
    const maps = mapsOf(state);
    const how = manner(state, { limits: LIMITS });
    const image = maps ? overlay(base, maps[state.layer], state.result.model.grid, how) : base;
    context2d.putImageData(image, 0, 0);
  }

  /** @param {State} state */
  function draw(state, depth) {
    whole = depth.whole;
    const { model } = state.result;
    const token = queryToken(state);
    setText(title, t("layers.likeness.title", { token: tokenName(model, token) }));
    canvas.draw();
    const table = tableFor(state.colormap);
    bar.show(table, LIMITS);
    const maps = mapsOf(state);
    if (!maps) return;
    /** @param {number} layer */
    const caption = (layer) => String(layer + 1);
    strip.draw(state, { maps, table, limits: () => LIMITS, caption });
    setText(says, describe(state, maps, token));
  }

  return { node, draw };
}

/**
 * The patch that is most like the token at the chosen layer, the token itself left out.
 * @param {State} state
 * @param {number} token
 */
function describe(state, maps, token) {
  const { model } = state.result;
  const others = maps[state.layer].slice();
  if (cellOf(model, token)) others[token - model.prefix.length] = -2;
  const best = extremePatch(others, 0);
  const [row, column] = cellOf(model, best + model.prefix.length);
  const mean = maps.map((map) => map.reduce((sum, value) => sum + value, 0) / map.length);
  return t("layers.likeness.says", {
    layer: state.layer + 1,
    row: row + 1,
    column: column + 1,
    value: cosine(others[best]),
    first: cosine(mean[0]),
    last: cosine(mean.at(-1)),
  });
}
