// The patches' tokens on their first principal components, as colours.

import { el, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { list, t } from "../../base/words.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { componentImage, componentsAt, componentTable, layPatches } from "../../maps/component_colours.js";
import { numbersOf } from "../../server/packed.js";

/** @param {Context} context */
export function createFeatureColours(context) {
  const { store } = context;
  const canvas = createPatchCanvas({ store, label: t("layers.colours.canvas"), paint });
  const says = el("p", { class: "says", "aria-live": "polite" });
  const menu = createFigureMenu(context, "feature-components", {
    title: () => t("layers.colours.title"),
    detail: (state) => t("heads.layer.one", { layer: state.layer + 1 }),
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: state.result.model.grid[1] / state.result.model.grid[0],
    }),
    table: (state) => componentTable(componentsOf(state).scores, state.result.model.grid),
    code: ({ layer }) => ({ figure: "feature-components", layer, other: null }),
  });
  const node = el(
    "section",
    { class: "card depth-card", dataset: { part: "colours" } },
    el("h3", {}, t("layers.colours.title"), menu),
    el("p", { class: "note" }, t("layers.colours.help")),
    el(
      "div",
      { class: "depth-maps" },
      el("div", { class: "stage" }, canvas.canvas),
      el("div", { class: "depth-side" }, says),
    ),
  );

  /** @param {State} state */
  const numbers = ({ result }) => numbersOf(result, "features");

  /** @param {State} state */
  const componentsOf = (state) => componentsAt(numbers(state), state.layer);

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    painter.putImageData(state.image.pixels(width, height), 0, 0);
    if (!numbers(state)?.arrays) return;
    layPatches(painter, componentImage(componentsOf(state), state.result.model.grid), width, height, state);
  }

  /** @param {State} state */
  function draw(state) {
    const found = numbers(state);
    menu.hidden = !found?.arrays;
    canvas.draw();
    setText(
      says,
      found?.arrays
        ? t("layers.colours.says", { layer: state.layer + 1, shares: list(componentsOf(state).explained.map(percent)) })
        : t(found ? "tables.failed" : "tables.waiting"),
    );
  }
  return { node, draw };
}
