// Models that add no position embedding: a learned bias where there is one, and attention by distance.

import { el, setText } from "../../base/dom.js";
import { fixed, percent, short } from "../../base/format.js";
import { svg } from "../../base/svg.js";
import { t } from "../../base/words.js";
import { drawProfile } from "../../charts/profile.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { positionName } from "../../controls/model_facts.js";
import { beginning, createChooser, oneHead } from "../../controls/number_tables.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { zoomedToken } from "../../controls/patch_zoom.js";
import { manner, tableFor } from "../../maps/colours.js";
import { cellOf, extremePatch, tokenName } from "../../maps/geometry.js";
import { maximum, overlay, range } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";

const KINDS = ["relative", "rotary", "no"];

/**
 * What is true of a model's positions, in words.
 * @param {Model} model
 */
function whatIsTrue(model) {
  const kind = KINDS.find((name) => name === model.position) ?? "other";
  const values = { model: model.name, position: positionName(model.position) };
  return t(`positions.without.${kind}`, values);
}

/**
 * Mean attention from a patch to another by their distance in patches, as a multiple of equal
 * attention; prefix tokens are left out. `pack` is one layer's rows.
 */
export function attentionByDistance(pack, { heads, tokens, prefix }, grid, head) {
  const patches = tokens - prefix;
  const reach = Math.round(Math.hypot(grid[0] - 1, grid[1] - 1));
  const sums = new Float64Array(reach + 1);
  const counts = new Float64Array(reach + 1);
  const chosen = typeof head === "number" ? [head] : Array.from({ length: heads }, (_, at) => at);
  for (const each of chosen) {
    for (let query = 0; query < patches; query += 1) {
      const line = each * tokens + prefix + query;
      const [row, column] = [Math.floor(query / grid[1]), query % grid[1]];
      for (let key = 0; key < patches; key += 1) {
        const apart = Math.hypot(Math.floor(key / grid[1]) - row, (key % grid[1]) - column);
        sums[Math.round(apart)] += pack.value(line, prefix + key);
        counts[Math.round(apart)] += 1;
      }
    }
  }
  return Float64Array.from(sums.subarray(1), (sum, at) => (sum / counts[at + 1]) * patches);
}

/** @param {Context} context */
export function createWithoutPositions({ store }) {
  const heading = el("h3");
  const truth = el("p", {});
  const chooser = createChooser(store);
  const title = el("h3");
  const canvas = createPatchCanvas({ store, label: t("positions.canvas"), paint });
  const bar = createColourBar(short);
  const says = el("p", { class: "says", "aria-live": "polite" });
  const plot = svg("svg", { role: "img", class: "profile" });
  const help = el("p", { class: "note" });
  const decay = el("div", { class: "position-part" }, el("h3", {}, t("positions.decay")), plot, help);
  const node = el(
    "div",
    { class: "without" },
    el("div", { class: "card truth" }, heading, truth),
    el(
      "div",
      { class: "split" },
      el("div", { class: "stage" }, title, canvas.canvas, bar.node, says),
      el("div", { class: "side" }, chooser.node, decay),
    ),
  );
  let known = { key: "", line: null };

  /**
   * The bias around the chosen patch, else its attention; null while neither is here.
   * @param {State} state
   */
  function mapOf(state) {
    const { model, attention } = state.result;
    const found = numbersOf(state.result, `bias/${state.layer}`);
    const token = zoomedToken(state);
    if (found?.arrays?.bias) {
      const count = model.grid[0] * model.grid[1];
      const head = Math.min(oneHead(state), found.shapes.bias[0] - 1);
      const start = (head * count + token - model.prefix.length) * count;
      const values = found.arrays.bias.subarray(start, start + count);
      const size = Math.max(...range(values).map(Math.abs)) || 1;
      return { bias: true, values, limits: [-size, size], signed: true };
    }
    const at = { layer: state.layer, head: oneHead(state), query: token, direction: "from" };
    const map = attention.data.map(at);
    if (!map) return null;
    const values = map.subarray(model.prefix.length);
    return { bias: false, values, limits: [0, maximum(values) || 1], signed: false };
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const base = state.image.pixels(width, height);
    const map = mapOf(state);
    if (!map) painter.putImageData(base, 0, 0);
    else painter.putImageData(overlay(base, map.values, state.result.model.grid, manner(state, map)), 0, 0);
  }

  /** @param {State} state */
  function describe(state, map) {
    const { model } = state.result;
    const token = zoomedToken(state);
    /** @param {number} patch */
    const place = (patch) => cellOf(model, patch + model.prefix.length).map((at) => at + 1);
    const [row, column] = place(extremePatch(map.values, 0));
    if (!map.bias) {
      const top = percent(maximum(map.values));
      const query = beginning(model, token);
      return t("heads.says.from", { query, row, column, top, prefix: "" }).trim();
    }
    const [lowRow, lowColumn] = place(extremePatch(map.values, 0, -1));
    const [low, high] = range(map.values).map((value) => fixed(value, 2));
    const name = beginning(model, token);
    return t("positions.bias.says", { name, row, column, high, lowRow, lowColumn, low });
  }

  /** @param {State} state */
  function draw(state) {
    const { model, attention } = state.result;
    setText(heading, t(model.position === "no" ? "positions.without.any" : "positions.without"));
    setText(truth, whatIsTrue(model));
    chooser.show(state);
    canvas.draw();
    const map = mapOf(state);
    const layer = state.layer + 1;
    const token = tokenName(model, zoomedToken(state));
    const shown = map?.bias
      ? t("positions.bias", { layer, head: oneHead(state) + 1 })
      : t("positions.without.attention", { layer, token });
    setText(title, shown);
    if (map) bar.show(tableFor(state.colormap, map.signed), map.limits);
    setText(says, map ? describe(state, map) : t("heads.waiting"));
    if (!attention.whole) attention.data.loadQuery(zoomedToken(state));
    drawDecay(state);
  }

  /** @param {State} state */
  function drawDecay(state) {
    const { model, attention, pass } = state.result;
    const pack = attention.data.layer(state.layer);
    decay.hidden = !attention.whole;
    setText(help, t(pack ? "positions.decay.help" : "heads.waiting"));
    if (!pack) return;
    const key = [pass, state.layer, oneHead(state)].join();
    if (known.key === key) return;
    known = { key, line: attentionByDistance(pack, attention, model.grid, oneHead(state)) };
    const { line } = known;
    const name = t("positions.decay");
    drawProfile(plot, [{ values: line, name, kind: "row" }], [0, 2], {
      axis: t("positions.decay.axis"),
      comparison: { at: 1, name: t("positions.decay.even") },
    });
    const values = { near: line[0].toFixed(1), far: line.at(-1).toFixed(1), count: line.length };
    plot.setAttribute("aria-label", t("positions.decay.alt", values));
  }
  return { node, draw };
}
