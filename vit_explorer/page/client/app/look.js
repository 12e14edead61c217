// How maps look, in every view at once: opacity, colours, and smooth or patch by patch.

import { el, segmented } from "../base/dom.js";
import { t } from "../base/words.js";

/** @param {Context} context */
export function createLook({ store, setup }) {
  const opacity = el("input", {
    type: "range",
    min: "0",
    max: "1",
    step: "0.05",
    id: "vx-opacity",
    oninput: () => store.set({ opacity: Number(opacity.value) }),
  });
  const names = Object.keys(setup.colormaps).filter((name) => name !== setup.diverging);
  const colormap = el(
    "select",
    { id: "vx-colormap", onchange: () => store.set({ colormap: colormap.value }) },
    names.map((name) => el("option", { value: name }, name)),
  );
  const sampling = segmented(
    t("tool.sampling"),
    [
      [false, t("tool.patches")],
      [true, t("tool.smooth")],
    ],
    (smooth) => store.set({ smooth }),
  );

  const node = el(
    "div",
    { class: "look" },
    el("label", { class: "tool" }, t("tool.opacity"), opacity),
    el("label", { class: "tool" }, t("tool.colormap"), colormap),
    sampling.node,
  );
  /** @param {State} state */
  const show = (state) => {
    opacity.value = String(state.opacity);
    colormap.value = state.colormap;
    sampling.show(state.smooth);
  };
  store.on(["opacity", "colormap", "smooth"], show);
  show(store.get());
  return node;
}
