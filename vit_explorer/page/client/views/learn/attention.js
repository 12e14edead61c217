// Attention in one head, by hand: scores, softmax and weighted sum.

import { el, setText } from "../../base/dom.js";
import { percent, short } from "../../base/format.js";
import { sentences, t } from "../../base/words.js";
import {
  BLANK,
  createChooser,
  createNumbers,
  createStrip,
  exact,
  firstOf,
  number,
  oneHead,
  waiting,
} from "../../controls/number_tables.js";
import { tokenName } from "../../maps/geometry.js";
import { applied, formula, m, normed, over, root, row, sub, sum, sup } from "../../maps/math.js";
import { maximum, range } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { attentionCode } from "../../state/code_orders.js";
import { largest, workOut } from "./numbers.js";
import { withChanges } from "../../state/store.js";

const LISTED = 4;
const COMPONENTS = 4;
const MIXED = 3;
const SUMMED = 6;

/** The map's layer, head and query, for a caption; `head` is a number or "mean". */
export const captionOf = (head) => (state) => {
  const chosen = head ?? oneHead(state);
  return t("figure.attention", {
    layer: state.layer + 1,
    head: typeof chosen === "number" ? chosen + 1 : t(`heads.${chosen}`),
    query: tokenName(state.result.model, state.pinned),
    direction: t("heads.from"),
  });
};

/**
 * The view that a step opens shows the step's own head, and no rollout.
 * @param {State} state
 */
export const showHere = (state) => ({ head: oneHead(state), rolled: false, direction: "from", mass: 1 });

/** What code makes of the attention that a step shows. */
export const codeOf = (head) => (state) => {
  const only = { head: head ?? oneHead(state), direction: "from", rolled: false, mass: 1 };
  return attentionCode(withChanges(state, { ...only }));
};

/**
 * Which query, layer and head a step speaks of.
 * @param {State} state
 */
export const where = (state) => ({
  token: tokenName(state.result.model, state.pinned),
  layer: state.layer + 1,
  head: oneHead(state) + 1,
});

/** The head at hand, worked out once for both steps that show it. */
let worked = { numbers: null, result: null };

/**
 * @param {Store} store
 * @param {State} state
 */
function headOf(store, state) {
  const path = `heads/${state.layer}/${oneHead(state)}/${state.pinned}`;
  const numbers = numbersOf(state.result, path);
  const whole = Boolean(numbers?.arrays?.key);
  if (whole && worked.numbers !== numbers) worked = { numbers, result: workOut(numbers) };
  return { numbers, found: whole ? worked.result : null };
}

/** A model that writes its softmax out shows what comes of it, not the q, k and v before it. */
const isWritten = ({ attends }) => attends === "written";
const UNREAD = { text: ".unread", try: ".unread" };
const kindsOf = (model) => (isWritten(model) ? UNREAD : {});

/**
 * Values of all patches, for the map over the picture.
 * @param {Store} store
 * @param {State} state
 */
function patchValues(store, state, name) {
  const { found } = headOf(store, state);
  return found ? Float32Array.from(found[name].subarray(state.result.model.prefix.length)) : null;
}

/** @param {Context} context */
function pieces(context, name) {
  const chooser = createChooser(context.store);
  const numbers = createNumbers(context, name, t(`learn.${name}.table`));
  const says = el("p", { class: "says", "aria-live": "polite" });
  return { chooser, numbers, says };
}

/** The first numbers of a vector in one cell. */
function few(all, start, count = COMPONENTS) {
  const values = [...all.subarray(start, start + count)];
  return { shown: el("span", { class: "vector" }, `${values.map(exact).join("  ")} …`), values };
}

/** How this model makes a query, key or value: `part` of the token at `index`. */
function made(part, { apart, biases, query_norm: evened, rotary }, index = null) {
  const at = (letter) => (index ? sub(letter, index) : letter);
  const letter = part.toUpperCase();
  const bias = biases.includes(part) ? ["+", sub("b", letter)] : [];
  const plain = row(sub("W", letter), apart ? normed(at("x")) : at("u"), ...bias);
  if (part === "v") return plain;
  const even = evened ? applied("N", plain) : plain;
  return rotary ? applied(at("R"), even) : even;
}

/** The same in words; nothing while it is not known. */
function madeWords(facts) {
  if (!facts) return "";
  return sentences(
    t(facts.apart ? "learn.scores.made" : "learn.scores.made.unread"),
    facts.query_norm && t("learn.scores.evened"),
    facts.rotary && t("learn.scores.turned"),
  );
}

/**
 * A score; its scale is 1/√d in most models.
 * @param {any} values
 * @param {number} width
 */
function scoreFormula({ bias, scale }, width) {
  const product = row("q", "·", sub("k", "j"));
  const usual = Math.abs(scale * Math.sqrt(width) - 1) < 1e-3;
  const scaled = usual ? over(product, root("d")) : row(product, "×", short(scale));
  return formula(sub("s", "j"), "=", scaled, ...(bias ? ["+", sub("b", "j")] : []));
}

export const scores = {
  tab: "attention",
  builds: true,
  kinds: kindsOf,
  values: (state, facts) => ({
    ...where(state),
    made: madeWords(facts),
    bias: facts?.bias ? t("learn.scores.added") : "",
  }),
  map: (store, state) => {
    const values = patchValues(store, state, "scores");
    return values && { name: "score", exact: values, values: finite(values), limits: range(finite(values)) };
  },
  detail: captionOf(),
  opens: showHere,
  code: (state) => ({
    figure: "scores",
    layer: state.layer,
    head: oneHead(state),
    token: state.pinned,
  }),
  formula: (model, facts) =>
    isWritten(model)
      ? null
      : [
          formula("q", "=", made("q", facts)),
          formula(sub("k", "j"), "=", made("k", facts, "j")),
          scoreFormula(facts, model.head_width),
          formula("d", "=", `${model.head_width}`),
        ],
  /** @param {Context} context */
  create(context) {
    const { store } = context;
    const { chooser, numbers, says } = pieces(context, "scores");
    const query = createStrip("q");
    const all = createStrip(t("learn.scores.all"));
    const strips = el("div", { class: "strips" }, query.node, all.node);
    const node = el("div", { class: "learn-stack" }, strips, numbers.node, says);

    /** @param {State} state */
    function draw(state) {
      chooser.show(state);
      const { numbers: read, found } = headOf(store, state);
      numbers.node.hidden = strips.hidden = !found;
      if (!found) {
        setText(says, read?.arrays ? t("learn.scores.none") : waiting(read));
        return;
      }
      const { model } = state.result;
      const { arrays, facts, shapes } = read;
      const width = shapes.key[1];
      const size = arrays.query.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      query.show(arrays.query, [-size, size]);
      const seen = finite(found.scores);
      all.show(seen, range(seen), { colormap: state.colormap });
      const bias = arrays.bias ? [t("learn.scores.bias")] : [];
      const top = largest(found.scores, LISTED);
      numbers.show(
        [
          "",
          { shown: t("learn.scores.first", { count: COMPONENTS }), name: "q, k" },
          "q·k",
          `${bias.length ? "" : "s = "}q·k × ${short(facts.scale)}`,
          ...bias,
          ...(bias.length ? [t("learn.scores.score")] : []),
        ],
        [
          {
            name: "q",
            cells: [few(arrays.query, 0), ...Array(bias.length ? 4 : 2).fill(BLANK)],
            kind: "query",
          },
          ...top.map((token) => ({
            name: tokenName(model, token),
            cells: [
              few(arrays.key, token * width),
              number(found.products[token]),
              number(found.products[token] * facts.scale),
              ...(bias.length ? [number(arrays.bias[token]), number(found.scores[token])] : []),
            ],
          })),
        ],
      );
      const [low, high] = range(seen);
      setText(says, t("learn.scores.says", { width, low: exact(low), high: exact(high) }));
    }
    return { node, aside: chooser.node, draw };
  },
};

/** Scores that are not allowed are minus infinity, which no colour shows. */
function finite(all) {
  const allowed = [...all].filter(Number.isFinite);
  const low = Math.min(...allowed);
  return Float32Array.from(all, (score) => (Number.isFinite(score) ? score : low));
}

export const softmax = {
  tab: "attention",
  values: where,
  map: (store, state) => {
    const { attention } = headOf(store, state).numbers?.arrays ?? {};
    const values = attention?.subarray(state.result.model.prefix.length);
    return values ? { name: "attention", values, limits: [0, maximum(values) || 1] } : null;
  },
  detail: captionOf(),
  opens: showHere,
  code: codeOf(),
  builds: true,
  kinds: kindsOf,
  formula: (model, facts) =>
    [
      formula(
        sub("a", "j"),
        "=",
        over(sup("e", sub("s", "j")), row(sum("i"), sup("e", sub("s", "i")))),
      ),
      ...(isWritten(model)
        ? []
        : [
            formula("o", "=", sum("j"), sub("a", "j"), sub("v", "j")),
            formula(sub("v", "j"), "=", made("v", facts, "j")),
          ]),
    ],
  /** @param {Context} context */
  create(context) {
    const { store } = context;
    const { chooser, numbers, says } = pieces(context, "softmax");
    const sums = createNumbers(context, "weighted-sum", t("learn.softmax.sums"));
    const node = el("div", { class: "learn-stack" }, numbers.node, sums.node, says);

    /** @param {State} state */
    function draw(state) {
      chooser.show(state);
      const { numbers: read, found } = headOf(store, state);
      numbers.node.hidden = !read?.arrays;
      sums.node.hidden = !found;
      if (!read?.arrays) {
        setText(says, waiting(read));
        return;
      }
      if (!found) {
        showShares(numbers, state.result.model, read.arrays.attention);
        setText(says, t("learn.softmax.says.unread"));
        return;
      }
      const { model } = state.result;
      const { arrays, shapes } = read;
      const wide = shapes.value[1];
      const top = largest(found.shares, LISTED);
      const without = (of, total) => Math.max(0, top.reduce((left, token) => left - of[token], total));
      const rest = without(found.shares, 1);
      const power = without(found.powers, found.total);
      /** @param {number} token */
      const line = (token) => ({
        name: tokenName(model, token),
        cells: [
          number(found.scores[token]),
          number(found.powers[token]),
          number(found.shares[token], percent),
          few(arrays.value, token * wide, MIXED),
        ],
      });
      const others = t("learn.softmax.others", { count: found.shares.length - top.length });
      numbers.show(
        [
          "",
          "s",
          { shown: exponential(found.highest), name: "exp(s - max s)" },
          "a",
          { shown: t("learn.softmax.v", { count: MIXED }), name: "v" },
        ],
        [
          ...top.map(line),
          ...(rest > 0 && found.shares.length > top.length
            ? [{ name: others, cells: [BLANK, number(power), number(rest, percent), BLANK] }]
            : []),
          {
            name: t("learn.softmax.total"),
            cells: [BLANK, number(found.total), number(1, percent), BLANK],
            kind: "result",
          },
        ],
      );
      sums.show(
        [],
        [
          { name: "o = Σ a·v", cells: firstOf(found.mixed, SUMMED), kind: "mixed" },
          { name: t("learn.softmax.own"), cells: firstOf(arrays.output, SUMMED), kind: "own" },
        ],
      );
      const error = found.error === 0 ? "0" : found.error.toExponential(1);
      setText(says, t("learn.softmax.says", { error }));
    }
    return { node, aside: chooser.node, draw };
  },
};

/** The largest shares alone, where what they are made of was not seen. */
function showShares(numbers, model, shares) {
  const top = largest(shares, LISTED);
  const rest = Math.max(0, top.reduce((left, token) => left - shares[token], 1));
  const line = (name, share, kind = "") => ({ name, cells: [number(share, percent)], kind });
  const others = t("learn.softmax.others", { count: shares.length - top.length });
  numbers.show(
    ["", "a"],
    [
      ...top.map((token) => line(tokenName(model, token), shares[token])),
      ...(shares.length > top.length ? [line(others, rest)] : []),
      line(t("learn.softmax.total"), 1, "result"),
    ],
  );
}

const exponential = (highest) =>
  m("math", sup("e", row("s", highest < 0 ? "+" : "−", Math.abs(highest).toFixed(3))));
