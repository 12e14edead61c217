// Positions: which positions the model holds alike, for the patch that every view follows.

import { el, setText } from "../../base/dom.js";
import { fixed } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { positionName } from "../../controls/model_facts.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import {
  COSINES,
  describeAlike,
  POSITION_COLOURS,
  positionBar,
  positionsOf,
} from "../../controls/position_maps.js";
import { tableFor } from "../../maps/colours.js";
import { cellOf, tokenName } from "../../maps/geometry.js";
import { cropAspect } from "../../maps/picture.js";
import { enlarge, level } from "../../maps/pixels.js";
import { createParts } from "./position_parts.js";
import { createWithoutPositions } from "./position_states.js";


/** @param {Context} context */
export function createPositionsView(context) {
  const { store } = context;
  const title = el("h3");
  const says = el("p", { class: "says", "aria-live": "polite" });
  const bar = createColourBar((value) => fixed(value, 0));
  const canvas = createPatchCanvas({ store, label: t("positions.canvas"), paint });
  const help = el("p", { class: "note" });
  const parts = createParts(context);
  const without = createWithoutPositions(context);
  const menu = createFigureMenu(context, "positions", {
    title: (state) => t("positions.one", { token: tokenName(state.result.model, positionsOf(state).token) }),
    figure: (state) => ({
      paint: (drawing, width, height) => paint(drawing, width, height, state),
      aspect: state.result.model.grid[1] / state.result.model.grid[0],
      bar: positionBar(),
    }),
    table: (state) => gridTable(positionsOf(state).values, state.result.model.grid, "cosine"),
    code: (state) => ({
      figure: "positions",
      place: cellOf(state.result.model, positionsOf(state).token),
    }),
  });
  const note = el("p", { class: "caption" });
  const large = el(
    "div",
    { class: "card empty", hidden: true },
    el("h3", {}, t("positions.none")),
    note,
  );
  const stage = el(
    "div",
    { class: "stage" },
    title,
    canvas.canvas,
    el("div", { class: "under-stage" }, bar.node, menu),
    says,
    help,
  );
  const maps = el("div", { class: "split" }, stage, parts.node);
  const node = el("section", { class: "view view-positions", dataset: { look: "sampling" } }, large, maps, without.node);

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    if (!state.result.positions.values) return;
    const { values } = positionsOf(state);
    const table = tableFor(POSITION_COLOURS);
    const enlarged = enlarge(values, state.result.model.grid, width, height, state.smooth);
    const image = new ImageData(width, height);
    for (let i = 0; i < enlarged.length; i += 1) {
      const colour = level(enlarged[i], COSINES) * 3;
      image.data.set([table[colour], table[colour + 1], table[colour + 2], 255], i * 4);
    }
    painter.putImageData(image, 0, 0);
  }

  /** @param {State} state */
  function describe(state) {
    const { model } = state.result;
    const { token, values } = positionsOf(state);
    setText(title, t("positions.one", { token: tokenName(model, token) }));
    setText(says, describeAlike(model, token, values));
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "positions") return;
    const { positions, model } = state.result;
    large.hidden = !positions.large;
    maps.hidden = !positions.values;
    without.node.hidden = Boolean(positions.values || positions.large);
    if (positions.large)
      setText(note, t("positions.none.large", { grid: model.grid.join("×") }));
    if (!without.node.hidden) {
      node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
      without.draw(state);
    }
    if (!positions.values) return;
    node.style.setProperty("--aspect", String(model.grid[1] / model.grid[0]));
    canvas.draw();
    bar.show(tableFor(POSITION_COLOURS), COSINES);
    describe(state);
    setText(help, t("positions.help", { kind: positionName(model.position) }));
    parts.draw(state, positionsOf(state));
  }

  store.effect(draw);
  return { node };
}
