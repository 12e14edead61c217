// Layers: what the model would say after each, how its tokens move, and which ones stand out.

import { el, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { depthOf, forgetFailures, similarities } from "../../server/depth_data.js";
import { queryToken } from "../../state/store.js";
import { createFeatureColours } from "./feature_colours.js";
import { createLens } from "./lens.js";
import { createLikeness } from "./likeness.js";
import { createNorms } from "./norms.js";
import { createParts } from "./parts.js";
import { createPatchLens } from "./patch_lens.js";
import { createTokenPath } from "./token_path.js";


/** @param {Context} context */
export function createLayersView(context) {
  const { store, actions } = context;
  const value = el("output", { for: "vx-depth" });
  const layer = el("input", {
    type: "range",
    min: "1",
    id: "vx-depth",
    oninput: () => store.set({ layer: Number(layer.value) - 1 }),
  });
  const tools = el(
    "div",
    { class: "toolbar" },
    el("label", { class: "tool" }, t("heads.layer"), layer, value),
    el("span", { class: "note" }, t("layers.help")),
  );
  const none = el(
    "div",
    { class: "card depth-card", hidden: true },
    el("h3", {}, t("layers.lens.none")),
    el("p", { class: "caption" }, t("layers.lens.none.why")),
  );
  const lens = createLens(context);
  const patchLens = createPatchLens(context);
  const parts = createParts(context);
  const colours = createFeatureColours(context);
  const path = createTokenPath(context);
  const likeness = createLikeness(context);
  const norms = createNorms(context);
  const waits = el("p", { class: "caption depth-waits", "aria-live": "polite" });
  const cards = el(
    "div",
    { class: "depth-cards" },
    none,
    lens.node,
    patchLens.node,
    parts.node,
    colours.node,
    path.node,
    likeness.node,
    norms.node,
  );
  const node = el("section", { class: "view view-layers" }, tools, waits, cards);
  let alike = "";

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "layers") return;
    node.dataset.theme = state.theme; // its colours are drawn with
    const { model } = state.result;
    layer.max = String(model.depth);
    layer.value = String(state.layer + 1);
    setText(value, `${state.layer + 1}/${model.depth}`);
    const { status, value: depth } = depthOf(state.result);
    node.setAttribute("aria-busy", String(status === "loading"));
    cover(status);
    if (!depth) return;
    node.style.setProperty("--aspect", String(model.grid[1] / model.grid[0]));
    none.hidden = Boolean(depth.lens);
    lens.draw(state, depth.lens);
    parts.node.hidden = !depth.lens;
    if (depth.lens) parts.draw(state);
    path.draw(state, depth.path);
  }

  /** Until the numbers are here, those of the picture before must not be read as this one's. */
  function cover(status) {
    cards.hidden = status === "failed";
    cards.classList.toggle("covered", status !== "ready");
    setText(waits, { failed: t("layers.failed"), ready: "" }[status] ?? t("tables.waiting"));
  }

  /**
   * What follows the pointer.
   * @param {State} state
   */
  function follow(state) {
    if (!state.result || state.tab !== "layers") return;
    const depth = depthOf(state.result).value;
    if (!depth) return;
    patchLens.node.hidden = !depth.lens;
    if (depth.lens) patchLens.draw(state);
    colours.draw(state);
    likeness.draw(state, depth);
    coverLikeness(state, depth);
    norms.draw(state, depth);
  }

  /**
   * The tokens come by themselves; once they are here, another token's may take a moment.
   * @param {State} state
   */
  function coverLikeness(state, { whole }) {
    const { result } = state;
    if (similarities(result, whole, queryToken(state)).value) alike = result.pass;
    likeness.node.classList.toggle("covered", alike !== result.pass);
  }

  store.effect(draw);
  store.effect(follow);
  // What could not be had is asked for again with the reader's next choice.
  store.on(["layer"], forgetFailures);
  store.effect(({ result, tab }) => {
    if (tab === "layers" && result && depthOf(result).status === "failed") actions.fail(t("layers.failed"));
  });
  return { node };
}
