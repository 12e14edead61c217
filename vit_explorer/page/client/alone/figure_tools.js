// What a figure without the page lets a reader choose: query, layer, head, and how maps are drawn.

import { el, setText } from "../base/dom.js";
import { percent } from "../base/format.js";
import { t } from "../base/words.js";
import { allColormaps } from "../maps/colours.js";
import { tokenName } from "../maps/geometry.js";
import { queryToken } from "../state/store.js";

/**
 * @param {Store} store
 * @param {{ apart: boolean } | null} attention what there is of it: head by head, or their mean alone
 */
export function createFigureTools(store, attention) {
  const { model } = store.get().result;
  const prefixes = model.prefix.map((_, token) =>
    el("button", { type: "button", onclick: () => store.set({ pinned: token, hover: null }) }, tokenName(model, token)),
  );
  const layer = slider({ min: 1, max: model.depth, step: 1 }, (value) => store.set({ layer: value - 1 }));
  const says = el("output");
  const each = Array.from({ length: model.heads }, (_, head) => [head, String(head + 1)]);
  const apart = attention?.apart ? [["max", t("heads.max")], ...each] : [];
  const head = choice(
    [["mean", t("heads.mean")], ...apart],
    (value) => store.set({ head: Number.isNaN(Number(value)) ? value : Number(value) }),
  );
  const opacity = slider({ min: 0, max: 1, step: 0.05 }, (value) => store.set({ opacity: value }));
  const share = el("output");
  const colormap = choice(allColormaps().map((name) => [name, name]), (value) => store.set({ colormap: value }));
  const smooth = el("input", { type: "checkbox", onchange: () => store.set({ smooth: smooth.checked }) });
  const ofAttention = [
    prefixes.length ? el("span", { class: "figure-tokens" }, prefixes) : null,
    el("label", {}, t("heads.layer"), layer, says),
    el("label", {}, t("heads.head"), head),
  ];
  const node = el(
    "div",
    { class: "figure-tools" },
    attention ? ofAttention : null,
    el("label", {}, t("tool.opacity"), opacity, share),
    el("label", {}, t("tool.colormap"), colormap),
    el("label", {}, smooth, t("tool.smooth")),
  );

  /** @param {State} state */
  function show(state) {
    layer.value = String(state.layer + 1);
    setText(says, `${state.layer + 1}/${model.depth}`);
    head.value = String(state.head);
    opacity.value = String(state.opacity);
    setText(share, percent(state.opacity).replace(".0", ""));
    colormap.value = state.colormap;
    smooth.checked = state.smooth;
    const query = queryToken(state);
    for (const [token, button] of prefixes.entries()) button.setAttribute("aria-pressed", String(token === query));
  }
  return { node, show };
}

/** @param {{ min: number, max: number, step: number }} range */
function slider(range, onChoose) {
  const node = el("input", { type: "range", ...range, oninput: () => onChoose(Number(node.value)) });
  return node;
}

/** One of a list of [value, words]. */
function choice(choices, onChoose) {
  const options = choices.map(([value, text]) => el("option", { value }, text));
  const node = el("select", { onchange: () => onChoose(node.value) }, options);
  return node;
}
