// Attention: one large canvas for a query, and the matrix of all layers and heads as its index.

import { el, setText } from "../../base/dom.js";
import { hint } from "../../base/hints.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createMeasurePlots } from "../../charts/distance.js";
import { createAttentionTools, keepMass } from "../../controls/attention_tools.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createGlossary } from "../../controls/glossary.js";
import { createHeadMatrix } from "../../controls/head_matrix.js";
import { createPatchCanvas, markCell } from "../../controls/patch_canvas.js";
import { describeAttention } from "../../maps/attention_words.js";
import { manner, tableFor } from "../../maps/colours.js";
import { startToken, tokenName } from "../../maps/geometry.js";
import { cropAspect } from "../../maps/picture.js";
import { maximum, overlay } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { attentionCode } from "../../state/code_orders.js";
import { directionOf, fusionOf } from "../../state/fusion.js";
import { createRest } from "../../state/pointer_rest.js";
import { queryToken } from "../../state/store.js";

/** @param {Context} context */
export function createAttentionView(context) {
  const { store } = context;
  const bar = createColourBar(percent);
  const says = el("p", { class: "says", "aria-live": "polite" });
  const help = el("p", { class: "note" });
  const matrix = createHeadMatrix({ store });
  const measures = createMeasurePlots(context);
  const canvas = createPatchCanvas({ store, label: t("heads.canvas"), paint });
  const tools = createAttentionTools(store);
  const kindOf = ({ rolled }) => (rolled ? "rollout" : "attention");
  const menu = createFigureMenu(context, kindOf, {
    title: ({ rolled, layer }) =>
      rolled ? t("figure.rolled", { layer: layer + 1 }) : t("tab.attention"),
    detail: describeQuery,
    figure: (state) => ({
      paint: (drawing, width, height) => {
        paint(drawing, width, height, state);
        markCell(drawing, [0, 0, width, height], state.result.model, state.pinned, width / 400);
      },
      aspect: cropAspect(state.result),
      bar: { table: tableFor(state.colormap), limits: limitsOf(state), format: percent },
    }),
    table: (state) => gridTable(patchValues(state), state.result.model.grid, kindOf(state)),
    whole: ({ rolled, layer }) => (rolled ? null : { path: `attention/${layer}` }),
    code: attentionCode,
  });
  const node = el(
    "section",
    { class: "view view-attention" },
    tools.node,
    el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "stage" },
        canvas.canvas,
        el("div", { class: "under-stage" }, bar.node, menu),
        tools.mass,
        says,
        help,
        createGlossary(["class", "query", "pin"]),
      ),
      el("div", { class: "heads-side" }, matrix.node, measures.node),
    ),
  );

  let known = { key: "", map: null };
  const rests = createRest();

  /**
   * Attention, or rollout, between the query and every token; null while it is not here.
   * @param {State} state
   */
  function currentMap(state) {
    const { layer, rolled, result } = state;
    const [query, head, direction] = [queryToken(state), fusionOf(state), directionOf(state)];
    const key = [result.pass, layer, direction, rolled, query, head].join();
    // What is not here yet has to be looked for again.
    if (known.key !== key || !known.map) {
      const { data } = result.attention;
      const map = rolled
        ? rolledMap(store, state, query, rests)
        : data.map({ layer, head, direction, query });
      known = { key, map };
    }
    return known.map;
  }

  /**
   * The patches' values, without those beyond the chosen share of the attention.
   * @param {State} state
   */
  function patchValues(state) {
    const values = currentMap(state).subarray(state.result.model.prefix.length);
    return state.mass < 1 ? keepMass(values, state.mass).values : values;
  }

  /** @param {State} state */
  function limitsOf(state) {
    return [0, maximum(patchValues(state)) || 1];
  }

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const base = state.image.pixels(width, height);
    const map = currentMap(state);
    if (!map) {
      painter.putImageData(base, 0, 0);
      return;
    }
    const how = manner(state, { limits: limitsOf(state) });
    const { grid } = state.result.model;
    painter.putImageData(overlay(base, patchValues(state), grid, how), 0, 0);
  }

  /** @param {State} state */
  function describe(state) {
    const map = currentMap(state);
    if (!map) return t(state.result.attention.data.failed ? "heads.failed" : "heads.waiting");
    const of = { direction: directionOf(state), rolled: state.rolled };
    return describeAttention(map, queryToken(state), state.result.model, of);
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "attention") return;
    const { model } = state.result;
    needMap(state, rests);
    node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
    const map = currentMap(state);
    const patches = map?.subarray(model.prefix.length);
    tools.show(state, map && keepMass(patches, state.mass).count);
    matrix.draw(state);
    measures.draw(state);
    canvas.draw();
    if (map) bar.show(tableFor(state.colormap), limitsOf(state));
    setText(says, describe(state));
    const start = model.prefix.length ? "attention.help" : "attention.help.none";
    setText(help, hint(start, "attention.help.touch", { token: tokenName(model, startToken(model)) }));
  }

  store.effect(draw);
  return { node };
}

/** @param {State} state */
function describeQuery(state) {
  const { layer, rolled, mass, result } = state;
  const head = fusionOf(state);
  const words = t(rolled ? "figure.rollout" : "figure.attention", {
    layer: layer + 1,
    head: typeof head === "number" ? head + 1 : t(`heads.${head}`),
    query: tokenName(result.model, state.pinned),
    direction: t(`heads.${directionOf(state)}`),
  });
  return mass < 1 ? t("figure.mass", { words, share: percent(mass) }) : words;
}

/**
 * Rollout by the layers at hand, or by the server where those are too large to be.
 * @param {Store} store
 * @param {State} state
 * @param {number} query
 */
function rolledMap(store, state, query, rests) {
  const { layer, direction, pinned, result } = state;
  const { whole, data, tokens } = result.attention;
  if (whole) return data.rollout({ layer, fusion: fusionOf(state), query, direction });
  // A pass through all layers for each patch on the pointer's way would queue up.
  if (query !== pinned && !rests(query)) return null;
  const rows = numbersOf(result, `rollouts/${query}`)?.arrays?.rollout;
  return rows?.subarray(layer * tokens, (layer + 1) * tokens) ?? null;
}

/**
 * Whole layers come by themselves where they are small; else each query is fetched when chosen. What
 * a token gets takes all attention, so that of each patch on the pointer's way would queue up.
 * @param {State} state
 * @param {(token: number) => boolean} rests
 */
function needMap(state, rests) {
  const { data, whole } = state.result.attention;
  if (whole) return;
  const direction = directionOf(state);
  for (const token of new Set([state.pinned, queryToken(state)])) {
    if (direction === "from" || token === state.pinned || rests(token)) data.loadQuery(token, direction);
  }
}
