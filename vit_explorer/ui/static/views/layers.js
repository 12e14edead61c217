// Layers: what the model would say after each, how its tokens move, and which ones stand out.

import { depthOf } from "../depth_data.js";
import { el, setText } from "../dom.js";
import { createLens } from "../lens.js";
import { createLikeness } from "../likeness.js";
import { createNorms } from "../norms.js";
import { createTokenPath } from "../token_path.js";
import { t } from "../words.js";

const DRAWN_BY = ["result", "image", "answers", "layer", "opacity", "colormap", "smooth", "theme"];

export function createLayersView(context) {
  const { store, actions } = context;
  const report = {
    arrived: () => store.set({ answers: store.get().answers + 1 }),
    failed: () => actions.fail(t("depth.failed")),
  };
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
    el("label", { class: "tool" }, t("attention.layer"), layer, value),
    el("span", { class: "note" }, t("depth.help")),
  );
  const none = el(
    "div",
    { class: "card depth-card", hidden: true },
    el("h3", {}, t("lens.none")),
    el("p", { class: "caption" }, t("lens.none.why")),
  );
  const lens = createLens(context);
  const path = createTokenPath(context);
  const likeness = createLikeness(context, report);
  const norms = createNorms(context);
  const node = el(
    "section",
    { class: "view view-layers" },
    tools,
    none,
    lens.node,
    path.node,
    likeness.node,
    norms.node,
  );

  function draw(state) {
    if (!state.result || state.tab !== "layers") return;
    const { model } = state.result;
    layer.max = String(model.depth);
    layer.value = String(state.layer + 1);
    setText(value, `${state.layer + 1}/${model.depth}`);
    const depth = depthOf(state.result, report);
    node.setAttribute("aria-busy", String(!depth));
    if (!depth) return;
    node.style.setProperty("--aspect", String(model.grid[1] / model.grid[0]));
    none.hidden = Boolean(depth.lens);
    lens.draw(state, depth.lens);
    path.draw(state, depth.path);
    follow(state);
  }

  /** What follows the pointer. */
  function follow(state) {
    if (!state.result || state.tab !== "layers") return;
    const depth = depthOf(state.result, report);
    if (!depth) return;
    likeness.draw(state, depth);
    norms.draw(state, depth);
  }

  store.on(DRAWN_BY, draw);
  store.on(["hover", "pinned"], follow);
  return { node, draw: () => draw(store.get()) };
}
