// Around attention: what a block adds to its tokens, and what depth does to them.

import { el, replace, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createShareBar } from "../../charts/share_bar.js";
import { beginning, createChooser, createNumbers, firstOf, waiting } from "../../controls/number_tables.js";
import { tokenName } from "../../maps/geometry.js";
import { applied, formula, normed, sub } from "../../maps/math.js";
import { maximum } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { captionOf, codeOf } from "./attention.js";
import { needRows, rowOf, showThumbs } from "./heads.js";

const PARTS = ["input", "attention", "mlp"];

/**
 * Length and first numbers of a block's input, attention and MLP for one token.
 * @param {any} values
 * @param {number} layer
 * @param {number} token
 */
function partsOf({ arrays, shapes }, layer, token) {
  const [, tokens, count, size] = shapes.parts;
  const start = (layer * tokens + token) * count * size;
  return PARTS.map((_, index) => {
    const at = start + index * size;
    return { length: arrays.parts[at], first: arrays.parts.subarray(at + 1, at + size) };
  });
}

export const residual = {
  tab: "layers",
  values: (state, facts) => ({
    token: tokenName(state.result.model, state.hover ?? state.pinned),
    layer: state.layer + 1,
    scaled: facts?.scaled ? t("learn.residual.scaled") : "",
  }),
  builds: true,
  kinds: (_, facts) => (facts && !facts.apart ? { text: ".other", try: ".other" } : {}),
  formula: (_, { apart, scaled }) =>
    apart
      ? [
          formula("x′", "=", "x", "+", "A"),
          formula("M", "=", ...(scaled ? [sub("λ", "2"), "∘"] : []), applied("MLP", normed("x′"))),
          formula("x″", "=", "x′", "+", "M"),
        ]
      : null,
  /** @param {Context} context */
  create(context) {
    const { store } = context;
    const chooser = createChooser(store, { heads: false });
    const numbers = createNumbers(context, "residual", t("learn.residual.table"));
    const bars = el("dl", { class: "learn-bars" });
    const says = el("p", { class: "says", "aria-live": "polite" });
    const node = el("div", { class: "learn-stack" }, numbers.node, bars, says);

    /** @param {State} state */
    function draw(state) {
      chooser.show(state);
      const walk = numbersOf(state.result, "walk");
      const there = Boolean(walk?.arrays?.parts);
      numbers.node.hidden = bars.hidden = !there;
      if (!there) {
        setText(says, walk?.arrays ? t("learn.residual.none") : waiting(walk));
        return;
      }
      const { model } = state.result;
      const token = state.hover ?? state.pinned;
      const found = partsOf(walk, state.layer, token);
      const total = found[0].first.map((value, at) => value + found[1].first[at] + found[2].first[at]);
      numbers.show(
        [],
        [
          ...PARTS.map((name, index) => ({
            name: t(`learn.residual.${name}`),
            cells: firstOf(found[index].first),
          })),
          { name: t("learn.residual.output"), cells: firstOf(total), kind: "result" },
        ],
      );
      const longest = Math.max(...found.map(({ length }) => length));
      replace(
        bars,
        PARTS.flatMap((name, index) => [
          el("dt", {}, t(`learn.residual.${name}`)),
          el("dd", {}, createShareBar(found[index].length / longest), short(found[index].length)),
        ]),
      );
      const [attention, mlp] = [1, 2].map((at) => (found[at].length / found[0].length).toFixed(2));
      setText(says, t("learn.residual.says", { name: beginning(model, token), attention, mlp }));
    }
    return { node, aside: chooser.node, draw };
  },
};

export const depth = {
  tab: "attention",
  opens: () => ({ head: "mean", rolled: false, direction: "from", mass: 1 }),
  values: (state) => ({
    depth: state.result.model.depth,
    token: tokenName(state.result.model, state.pinned),
  }),
  map: (_, state) => {
    const values = rowOf(state, "mean");
    return values && { name: "attention", values, limits: [0, maximum(values) || 1] };
  },
  detail: captionOf("mean"),
  code: codeOf("mean"),
  formula: () => null,
  /** @param {Context} context */
  create({ store }) {
    const grid = el("div", { class: "learn-thumbs", role: "group", "aria-label": t("heads.layer") });
    const says = el("p", { class: "says", "aria-live": "polite" });
    const node = el("div", { class: "learn-stack" }, grid, says);

    /** @param {State} state */
    function draw(state) {
      const { model } = state.result;
      needRows(store, state);
      const parts = Array.from({ length: model.depth }, (_, layer) => ({
        name: t("learn.depth.one", { layer: layer + 1 }),
        values: rowOf(state, "mean", layer),
        chosen: layer === state.layer,
        choose: () => store.set({ layer }),
      }));
      showThumbs(grid, parts, model, state.colormap);
      const walk = numbersOf(state.result, "walk");
      if (!walk?.arrays?.parts) {
        setText(says, walk?.arrays ? "" : waiting(walk));
        return;
      }
      const lengths = [0, model.depth - 1].map((at) => partsOf(walk, at, state.pinned)[0].length);
      const [first, last] = lengths.map(short);
      setText(says, t("learn.depth.says", { name: beginning(model, state.pinned), first, last }));
    }
    return { node, draw };
  },
};
