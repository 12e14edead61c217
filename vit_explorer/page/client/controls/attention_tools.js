// The Attention view's toolbar: the query, the direction, the layer, the heads; one layer or all up
// to it; and, to stand below the picture, how much of the attention to show.

import { childrenOf, el, segmented, setText } from "../base/dom.js";
import { percent } from "../base/format.js";
import { t } from "../base/words.js";
import { tokenName } from "../maps/geometry.js";
import { directionOf, fusionOf } from "../state/fusion.js";
import { queryToken } from "../state/store.js";

/** @param {Store} store */
export function createAttentionTools(store) {
  const prefixes = el("span", { class: "prefixes" });
  const value = el("output", { for: "vx-layer" });
  const layer = el("input", {
    type: "range",
    min: "1",
    id: "vx-layer",
    oninput: () => store.set({ layer: Number(layer.value) - 1 }),
  });
  const heads = el("span", { class: "heads" });
  const pair = (label, choices, key) =>
    segmented(
      t(label),
      choices.map(([choice, text]) => [choice, t(text)]),
      (choice) => store.set({ [key]: choice }),
    );
  const direction = pair(
    "heads.direction",
    [
      ["from", "heads.from"],
      ["to", "heads.to"],
    ],
    "direction",
  );
  const rolled = pair(
    "heads.read",
    [
      [false, "heads.read.one"],
      [true, "heads.read.rolled"],
    ],
    "rolled",
  );
  const mass = createMassTool(store);
  const node = el(
    "div",
    { class: "toolbar" },
    prefixes,
    direction.node,
    el("label", { class: "tool" }, t("heads.layer"), layer, value),
    rolled.node,
    el("span", { class: "tool" }, t("heads.heads"), heads),
  );
  let built = "";
  let headButtons = null;

  /** @param {Model} model */
  function rebuild(model) {
    layer.max = String(model.depth);
    const each = Array.from({ length: model.heads }, (_, head) => [head, String(head + 1)]);
    const choices = [["mean", t("heads.mean")], ["max", t("heads.max")], ...each];
    headButtons = segmented(t("heads.heads"), choices, (head) => store.set({ head }));
    heads.replaceChildren(headButtons.node);
    prefixes.replaceChildren(
      ...model.prefix.map((_, token) =>
        el(
          "button",
          {
            type: "button",
            class: "chip",
            dataset: { token: String(token) },
            onclick: () => store.set({ pinned: token, hover: null }),
          },
          tokenName(model, token),
        ),
      ),
    );
  }

  /**
   * `kept`: how many patches hold the chosen share of the attention, null while it is not here.
   * @param {State} state
   */
  function show(state, kept) {
    const { model, attention } = state.result;
    const key = `${model.depth} ${model.heads} ${model.prefix}`;
    if (key !== built) rebuild(model);
    built = key;
    layer.value = String(state.layer + 1);
    setText(value, `${state.layer + 1}/${model.depth}`);
    headButtons.show(fusionOf(state));
    for (const button of headButtons.node.children) {
      const single = !["mean", "max"].includes(button.dataset.value);
      button.disabled = state.rolled && (single || !attention.whole);
    }
    direction.show(directionOf(state));
    rolled.show(state.rolled);
    direction.node.hidden = state.rolled && !attention.whole;
    mass.show(state, kept);
    const token = queryToken(state);
    for (const chip of childrenOf(prefixes)) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.token) === token));
    }
  }
  return { node, mass: mass.node, show };
}

/** @param {Store} store */
function createMassTool(store) {
  const value = el("output", { for: "vx-mass", class: "mass" });
  const range = el("input", {
    type: "range",
    id: "vx-mass",
    min: "5",
    max: "100",
    step: "5",
    oninput: () => store.set({ mass: Number(range.value) / 100 }),
  });
  const node = el(
    "label",
    { class: "tool", title: t("heads.mass.title") },
    t("heads.mass"),
    range,
    value,
  );

  /** @param {State} state */
  function show({ mass }, kept) {
    range.value = String(Math.round(mass * 100));
    const share = percent(mass).replace(".0", "");
    const text = kept === null ? share : t("heads.mass.kept", { share, count: kept });
    setText(value, text);
    range.setAttribute("aria-valuetext", text);
  }
  return { node, show };
}

/** The largest values that together hold `share` of the sum; the others become 0. */
export function keepMass(values, share) {
  const order = Array.from(values, (_, at) => at).sort((a, b) => values[b] - values[a] || a - b);
  const enough = share * values.reduce((sum, value) => sum + value, 0) * (1 - 1e-6);
  const kept = new Float32Array(values.length);
  let [held, count] = [0, 0];
  for (const at of order) {
    if (held >= enough) break;
    kept[at] = values[at];
    held += values[at];
    count += 1;
  }
  return { values: kept, count };
}
