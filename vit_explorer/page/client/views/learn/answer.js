// The end of the walk: from the last tokens to a prediction, and what explanations do and don't say.

import { nameOf } from "../../base/class_names.js";
import { el, setText } from "../../base/dom.js";
import { fixed, percent } from "../../base/format.js";
import { twinOf } from "../../base/outputs.js";
import { list, sentences, t } from "../../base/words.js";
import { poolingName } from "../../controls/model_facts.js";
import { BLANK, createNumbers, exact, number, waiting } from "../../controls/number_tables.js";
import { formula, m, over, row, sub, sum, sup } from "../../maps/math.js";
import { numbersOf } from "../../server/packed.js";
import { showThumbs } from "./heads.js";
import { mapCode } from "../../state/code_orders.js";
import { rankCorrelation } from "./numbers.js";
import { withChanges } from "../../state/store.js";

// How logits become probabilities, where they do.
const SHARES = {
  softmax: () => over(sup("e", sub("y", "c")), row(sum("i"), sup("e", sub("y", "i")))),
  sigmoid: () => over("1", row("1", "+", sup("e", row("−", sub("y", "c"))))),
};

export const prediction = {
  tab: "layers",
  builds: true,
  kinds: ({ classes, activation }, facts) => {
    if (!classes) return { text: ".none", try: ".none" };
    if (activation !== "softmax") return { text: activation === "sigmoid" ? ".sigmoid" : ".plain" };
    return facts?.two_heads ? { text: ".two" } : {};
  },
  values: ({ result: { model } }) => ({
    read: poolingName(model),
    classes: model.classes.toLocaleString(),
    numbers: t(model.classes === 1 ? "learn.prediction.one" : "learn.prediction.many", {
      classes: model.classes.toLocaleString(),
    }),
  }),
  formula: ({ classes, activation }, { two_heads: both }) => {
    if (!classes || !(activation in SHARES)) return null;
    const share = SHARES[activation]();
    const [one, other] = ["class", "distillation"].map((name) => sub("y", m("mtext", t(`token.${name}`))));
    const mean = over(row(one, "+", other), "2");
    return [...(both ? [formula("y", "=", mean)] : []), formula(sub("p", "c"), "=", share)];
  },
  /** @param {Context} context */
  create(context) {
    const numbers = createNumbers(context, "prediction", t("learn.prediction.table"));
    const says = el("p", { class: "says", "aria-live": "polite" });
    const node = el("div", { class: "learn-stack" }, numbers.node, says);

    /** @param {State} state */
    function draw(state) {
      const { predictions } = state.result;
      const walk = numbersOf(state.result, "walk");
      numbers.node.hidden = !walk?.arrays || !predictions.length;
      if (numbers.node.hidden) {
        setText(says, walk?.arrays ? t("predictions.none") : waiting(walk));
        return;
      }
      if (state.result.model.activation !== "softmax") {
        showEach(numbers, state.result, walk.facts);
        setText(says, t(`predictions.${state.result.model.outputs}`));
        return;
      }
      const { logits, total } = walk.facts;
      // The largest logit is taken away first; that changes no share, and keeps the powers small.
      const highest = Math.max(...logits);
      const count = state.result.model.classes - predictions.length;
      // Rounded, all shares together may be a little above 1.
      const left = Math.max(0, predictions.reduce((share, { probability }) => share - probability, 1));
      const rest = left * Math.exp(total - highest);
      numbers.show(
        [
          "",
          t("learn.prediction.logit"),
          { shown: power(highest), name: "exp(y - max y)" },
          t("learn.prediction.share"),
        ],
        [
          ...predictions.map(({ label, probability }, at) => ({
            name: nameOf(label),
            cells: [
              number(logits[at]),
              number(Math.exp(logits[at] - highest)),
              number(probability, percent),
            ],
          })),
          ...(count > 0
            ? [
                {
                  name: t("learn.softmax.others", { count }),
                  cells: [BLANK, number(rest), number(left, percent)],
                },
              ]
            : []),
          {
            name: t("learn.softmax.total"),
            cells: [BLANK, number(Math.exp(total - highest)), number(1, percent)],
            kind: "result",
          },
        ],
      );
      const first = nameOf(predictions[0].label);
      const [one, two] = logits;
      const values = { first, second: nameOf(predictions[1]?.label), gap: exact(one - two) };
      const times = { ...values, times: (Math.exp(one - two)).toPrecision(3) };
      const others = count > 0 ? t("learn.prediction.rest") : "";
      setText(says, predictions.length > 1 ? sentences(t("learn.prediction.says", times), others) : "");
    }
    return { node, draw };
  },
};

/**
 * Numbers that are no shares of one whole: each stands for itself.
 * @param {any} numbers
 * @param {Result} result
 */
function showEach(numbers, { predictions, model }, { logits }) {
  const sigmoid = model.activation === "sigmoid";
  const heading = t(sigmoid ? "learn.prediction.logit" : `learn.prediction.share${twinOf(model)}`);
  numbers.show(
    ["", heading, ...(sigmoid ? [t("learn.prediction.share")] : [])],
    predictions.map(({ label, probability }, at) => ({
      name: nameOf(label),
      cells: [number(logits[at]), ...(sigmoid ? [number(probability, percent)] : [])],
    })),
  );
}

const power = (highest) =>
  m("math", sup("e", row("y", highest < 0 ? "+" : "−", Math.abs(highest).toFixed(3))));

export const explanations = {
  tab: "explain",
  values: () => ({}),
  map: (_, state) => {
    const map = state.result.maps[0];
    return map ?? null;
  },
  kinds: ({ classes }) => (classes ? {} : { try: ".none" }),
  detail: (state) => t(`method.${state.result.maps[0].name}.title`),
  code: (state) =>
    mapCode(state.result.maps[0], withChanges(state, { whole: false, shared: false }), null),
  formula: () => null,
  /** @param {Context} context */
  create({ store }) {
    const grid = el("div", { class: "learn-thumbs wide", role: "group", "aria-label": t("tab.explain") });
    const says = el("p", { class: "says", "aria-live": "polite" });
    const points = (kind) =>
      el(
        "div",
        { class: `learn-${kind}` },
        el("h3", {}, t(`learn.explanations.${kind}`)),
        el(
          "ul",
          {},
          [1, 2, 3].map((point) => el("li", {}, t(`learn.explanations.${kind}.${point}`))),
        ),
      );
    const both = el("div", { class: "learn-sides" }, points("do"), points("dont"));
    const node = el("div", { class: "learn-stack" }, grid, says, both);

    /** @param {State} state */
    function draw(state) {
      const { maps, model } = state.result;
      const [one, two] = [maps[0], maps.find(({ class_specific: own }) => own) ?? maps[1]];
      const shown = [one, two].filter(Boolean);
      showThumbs(
        grid,
        shown.map(({ name, values }) => ({
          name: t(`method.${name}.title`),
          values: Float32Array.from(values),
          chosen: false,
          choose: () => store.set({ tab: "explain" }),
        })),
        model,
        state.colormap,
      );
      if (shown.length < 2) {
        setText(says, "");
        return;
      }
      const correlation = fixed(rankCorrelation(one.values, two.values), 2);
      const titles = list(shown.map(({ name }) => t(`method.${name}.title`)));
      setText(says, t("learn.explanations.says", { titles, correlation }));
    }
    return { node, draw };
  },
};
