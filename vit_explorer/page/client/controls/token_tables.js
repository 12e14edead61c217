// The first three steps: patches, their embedding, and positions.

import { el, setText } from "../base/dom.js";
import { list, sentences, t } from "../base/words.js";
import { patchCount, tokenName } from "../maps/geometry.js";
import { formula, over, row, sub, sum } from "../maps/math.js";
import { numbersOf } from "../server/packed.js";
import { pixelKind } from "./channels.js";
import { positionName } from "./model_facts.js";
import {
  beginning,
  createNumbers,
  createStrip,
  drawColours,
  drawPatch,
  exact,
  firstOf,
  patchOf,
  waiting,
} from "./number_tables.js";

// How far z + p may be from t, for rounding alone, as a share of the largest number.
const ROUNDING = 1e-3;
const PARTS = ["patches", "positions", "tokens"];
const LISTED = 5;

/** What is known of how tokens are made: "added", "none" where no positions are, or "unread". */
function sumOf({ limits, error }) {
  if (!limits.positions) return "none";
  return error === null || error > ROUNDING * limits.tokens ? "unread" : "added";
}

/** The parts of a sum that can be shown: where it doesn't come out, what came of it alone. */
const partsOf = (facts) => (sumOf(facts) === "unread" ? ["tokens"] : PARTS);

/**
 * First numbers of a token, of its patch and of its position, with the formula's signs.
 * @param {any} values
 * @param {number} token
 */
export function sumRows({ arrays, facts, shapes }, token) {
  const [, tokens, count] = shapes.first;
  const signs = ["z", "p", { added: "t = z + p", none: "t", unread: "t" }[sumOf(facts)]];
  return PARTS.flatMap((name, index) => {
    if (!arrays[`${name} matrix`] || !partsOf(facts).includes(name)) return [];
    const start = (index * tokens + token) * count;
    const cells = firstOf(arrays.first.subarray(start, start + count));
    return [{ name: signs[index], cells, kind: name === "tokens" ? "result" : "" }];
  });
}

export const patches = {
  tab: "patches",
  values: ({ result: { model } }) => ({
    height: model.image[0],
    width: model.image[1],
    count: patchCount(model),
    patch: model.patch.join("×"),
    overlap: model.overlap ? t("tables.patches.overlap") : "",
  }),
  formula: ({ patch, grid }) =>
    formula(
      "n",
      "=",
      over(grid[0] * patch[0], patch[0]),
      "·",
      over(grid[1] * patch[1], patch[1]),
      "=",
      `${grid[0]}`,
      "·",
      `${grid[1]}`,
      "=",
      `${grid[0] * grid[1]}`,
    ),
  /** @param {Context} context */
  create({ store }) {
    const zoom = el("canvas", { class: "learn-patch pixelated", role: "img" });
    const text = el("p", { class: "caption" });
    const node = el("div", { class: "learn-pair" }, zoom, text);

    /** @param {State} state */
    function draw(state) {
      const { model } = state.result;
      const token = patchOf(model, state.hover ?? store.get().pinned);
      drawPatch(zoom, state, token);
      zoom.setAttribute("aria-label", tokenName(model, token));
      const [high, wide] = model.patch;
      const count = model.channels * high * wide;
      const { channels } = model;
      const values = { patch: beginning(model, token), height: high, width: wide, count, channels };
      const one = t(`tables.patches.${pixelKind(model)}`, values);
      setText(text, sentences(one, model.overlap ? "" : t("tables.patches.all")));
    }
    return { node, draw };
  },
};

export const embedding = {
  tab: "patches",
  kinds: ({ convolution }) => (convolution ? {} : { text: ".other", try: ".other" }),
  values: ({ result: { model } }) => ({
    inputs: model.channels * model.patch[0] * model.patch[1],
    dim: model.dim,
  }),
  formula: ({ channels, convolution, patch }) =>
    convolution
      ? formula(
          sub("z", "1"),
          "=",
          sum(row("i", "=", "1"), String(channels * patch[0] * patch[1])),
          sub("w", "i"),
          sub("x", "i"),
          "+",
          "b",
        )
      : null,
  /** @param {Context} context */
  create(context) {
    const pixels = el("canvas", { class: "learn-patch pixelated", role: "img" });
    const filter = el("canvas", { class: "learn-patch pixelated", role: "img" });
    const numbers = createNumbers(context, "embedding", t("tables.embedding"));
    const says = el("p", { class: "says", "aria-live": "polite" });
    /** @param {HTMLCanvasElement} canvas */
    const figure = (canvas, text) =>
      el("figure", {}, canvas, el("figcaption", { class: "caption" }, text));
    const pair = el(
      "div",
      { class: "learn-figures" },
      figure(pixels, t("tables.embedding.pixels")),
      el("span", { class: "learn-sign", "aria-hidden": "true" }, "·"),
      figure(filter, t("tables.embedding.filter")),
    );
    const node = el("div", { class: "learn-stack" }, pair, numbers.node, says);
    pixels.setAttribute("aria-label", t("tables.embedding.pixels"));
    filter.setAttribute("aria-label", t("tables.embedding.filter"));

    /** @param {State} state */
    function draw(state) {
      const { model } = state.result;
      const token = patchOf(model, state.pinned);
      const found = numbersOf(state.result, `patches/${token - model.prefix.length}`);
      pair.hidden = !found?.arrays;
      numbers.node.hidden = !found?.arrays?.filter;
      if (!found?.arrays) {
        setText(says, waiting(found));
        return;
      }
      const { pixels: x, filter: w } = found.arrays;
      drawPatch(pixels, state, token);
      filter.parentElement.hidden = !w;
      if (!w) {
        setText(says, t("tables.embedding.none"));
        return;
      }
      drawColours(filter, w, found.shapes.filter);
      const products = x.map((value, at) => value * w[at]);
      const total = products.reduce((before, value) => before + value, 0);
      numbers.show(
        [],
        [
          { name: t(`tables.embedding.x.${pixelKind(model)}`), cells: firstOf(x, LISTED) },
          { name: "w", cells: firstOf(w, LISTED) },
          { name: "w·x", cells: firstOf(products, LISTED), kind: "result" },
        ],
      );
      const { bias, value } = found.facts;
      const values = {
        count: products.length,
        sum: exact(total),
        bias: exact(bias),
        result: exact(total + bias),
        own: exact(value),
      };
      setText(says, t("tables.embedding.says", values));
    }
    return { node, draw };
  },
};

export const positions = {
  tab: "positions",
  values: ({ result: { model } }) => ({
    position: positionName(model.position),
    prefix: model.prefix.length
      ? t("tables.positions.beside", {
          names: list(model.prefix.map((_, token) => tokenName(model, token))),
        })
      : "",
  }),
  builds: true,
  formula: (_, facts) => {
    const kind = sumOf(facts);
    const added = kind === "added" ? ["+", sub("p", "i")] : [];
    return kind === "unread" ? null : formula(sub("t", "i"), "=", sub("z", "i"), ...added);
  },
  /** @param {Context} context */
  create(context) {
    const numbers = createNumbers(context, "embedding-sums", t("tables.positions"));
    const strips = PARTS.map((name) => ({ name, strip: createStrip(t(`tables.positions.part.${name}`)) }));
    const says = el("p", { class: "says", "aria-live": "polite" });
    const box = el("div", { class: "strips" }, strips.map(({ strip }) => strip.node));
    const node = el("div", { class: "learn-stack" }, box, numbers.node, says);

    /** @param {State} state */
    function draw(state) {
      const { model } = state.result;
      const walk = numbersOf(state.result, "walk");
      box.hidden = numbers.node.hidden = !walk?.arrays;
      if (!walk?.arrays) {
        setText(says, waiting(walk));
        return;
      }
      const token = patchOf(model, state.hover ?? state.pinned);
      const { limits } = walk.facts;
      const largest = Math.max(...Object.values(limits));
      strips.forEach(({ name, strip }) => {
        const matrix = walk.arrays[`${name} matrix`];
        strip.node.hidden = !matrix || !partsOf(walk.facts).includes(name);
        if (strip.node.hidden) return;
        const values = matrix.subarray(token * model.dim, (token + 1) * model.dim);
        strip.show(values, [-largest, largest]);
      });
      numbers.show([], sumRows(walk, token));
      const kind = sumOf(walk.facts);
      const found = t(`tables.positions.says.${kind}`, { name: beginning(model, token) });
      setText(says, sentences(found, whereTo(walk.facts)));
    }
    return { node, draw };
  },
};

/** Whether the sum is what the first layer gets. */
export const whereTo = ({ normalised }) =>
  t(normalised ? "tables.positions.normalised" : "tables.positions.enters");
