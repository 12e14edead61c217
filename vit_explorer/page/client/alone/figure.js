// One picture's attention with its maps beside it, without the page around them: what a report and a
// notebook show.

import { el, setText } from "../base/dom.js";
import { percent, short } from "../base/format.js";
import { t } from "../base/words.js";
import { createColourBar } from "../controls/colour_bar.js";
import { createPatchCanvas } from "../controls/patch_canvas.js";
import { describeAttention } from "../maps/attention_words.js";
import { describeMap } from "../maps/alt_text.js";
import { manner, tableFor } from "../maps/colours.js";
import { startToken, valueAt } from "../maps/geometry.js";
import { loadImage, PixelSource } from "../maps/picture.js";
import { maximum, overlay } from "../maps/pixels.js";
import { Attention } from "../server/attention_data.js";
import { createStore, queryToken } from "../state/store.js";
import { createFigureTools } from "./figure_tools.js";

/** The bytes that a text in base64 stands for. @param {string} text */
export const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/**
 * Draw into `node` what `told` holds; returns the store of what is chosen and what ends it all.
 * `ask(path)` gives attention as the page's server does: a layer's or a query's rows.
 * @param {HTMLElement} node
 * @param {any} told
 * @param {((path: string) => Promise<any>) | null} ask
 * @param {object} chosen
 */
export async function showFigure(node, told, ask, chosen = {}) {
  const picture = await loadImage(told.crop);
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  /** @type {any} */
  const result = { model: told.model, picture: { width, height }, box: [0, 0, width, height], box_known: true };
  const store = createStore(
    /** @type {any} */ ({
      result,
      image: new PixelSource(picture, picture, result),
      hover: null,
      pinned: startToken(told.model),
      layer: told.model.depth - 1,
      head: "mean",
      opacity: 0.6,
      colormap: "inferno",
      smooth: true,
      ...chosen,
    }),
  );
  const end = store.mark();
  const tools = createFigureTools(store, told.attention);
  const stage = ask ? createStage(store, new Attention(told.attention, ask), told.attention) : null;
  const maps = told.maps.map((map) => createMap(store, { ...map, values: floats(map.values) }));
  const figure = el(
    "div",
    { class: "vx-figure", style: `--aspect: ${width / height}` },
    tools.node,
    el("div", { class: "figure-parts" }, stage?.node, el("div", { class: "figure-maps" }, maps.map((map) => map.node))),
  );
  node.append(figure);
  store.effect((state) => {
    tools.show(state);
    stage?.draw(state);
    for (const map of maps) map.draw(state);
  });
  return {
    store,
    end: () => {
      end();
      figure.remove();
    },
  };
}

/** Float32 values from base64, exact. @param {string} text */
const floats = (text) => new Float32Array(bytesOf(text).buffer);

/**
 * The large canvas: what the query looks at in a layer and head.
 * @param {Store} store
 * @param {Attention} data
 * @param {{ whole: boolean }} info
 */
function createStage(store, data, { whole }) {
  const bar = createColourBar(percent);
  const says = el("p", { class: "figure-says", role: "status" });
  const canvas = createPatchCanvas({ store, label: t("heads.canvas"), paint });
  const node = el("div", { class: "figure-stage" }, canvas.canvas, bar.node, says);
  let asked = null;

  /** Ask for a layer, or a query, when it is chosen: one that can't be had is not asked for forever. */
  function need(chosen) {
    if (chosen === asked) return;
    asked = chosen;
    if (whole) data.load(chosen);
    else data.loadQuery(chosen);
  }

  /** @param {State} state */
  function currentMap(state) {
    const [layer, query] = [state.layer, queryToken(state)];
    return data.map({ layer, head: state.head, query, direction: "from" });
  }

  /** @param {Float32Array} map @param {State} state */
  const patchesOf = (map, state) => map.subarray(state.result.model.prefix.length);

  /** @param {Float32Array} patches @returns {Pair} */
  const limitsOf = (patches) => [0, maximum(patches) || 1];

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
    const patches = patchesOf(map, state);
    const how = manner(state, { limits: limitsOf(patches) });
    painter.putImageData(overlay(base, patches, state.result.model.grid, how), 0, 0);
  }

  /** @param {State} state */
  function draw(state) {
    const query = queryToken(state);
    need(whole ? state.layer : query);
    const map = currentMap(state);
    canvas.draw();
    setText(says, map ? describeAttention(map, query, state.result.model) : t(data.failed ? "alone.failed" : "alone.waiting"));
    if (map) bar.show(tableFor(state.colormap), limitsOf(patchesOf(map, state)));
  }
  return { node, draw };
}

/**
 * One method's map, with its own scale and its value at the query.
 * @param {Store} store
 */
function createMap(store, map) {
  const bar = createColourBar(short);
  const here = el("span", { class: "figure-here" });
  const label = describeMap(map.title, map.values, map.grid, map.signed);
  const canvas = createPatchCanvas({ store, label, paint, keyboard: false });
  const node = el(
    "figure",
    { dataset: { method: map.name } },
    canvas.canvas,
    bar.node,
    el("figcaption", {}, el("strong", {}, map.title), ` · ${map.note}`, here),
  );

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const how = manner(state, map);
    painter.putImageData(overlay(state.image.pixels(width, height), map.values, map.grid, how), 0, 0);
  }

  /** @param {State} state */
  function draw(state) {
    const value = valueAt(map, state.result.model, queryToken(state));
    canvas.draw();
    bar.show(tableFor(state.colormap, map.signed), map.limits, value);
    setText(here, value === null ? "" : ` · ${t("alone.here", { value: short(value) })}`);
  }
  return { node, draw };
}
