// Positions moved to another grid, as a model does for pictures of another size.

import { el, replace, segmented, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { t } from "../../base/words.js";
import { canvasFigure, createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { COSINES, POSITION_COLOURS, positionBar, positionsOf } from "../../controls/position_maps.js";
import { tableFor } from "../../maps/colours.js";
import { cellOf } from "../../maps/geometry.js";
import { thumbnail } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { GRID_SCALES } from "../../state/state.js";

// As LARGEST_GRID of vit_explorer/page/payloads/positions.py.
const LARGEST = 48 * 48;

const area = ([rows, columns]) => rows * columns;
const alike = (one, other) => one.every((side, axis) => side === other[axis]);

/** A grid scaled, as large as may be sent. */
export function scaledGrid(grid, scale) {
  const fit = Math.min(scale, Math.sqrt(LARGEST / area(grid)));
  return grid.map((side) => Math.max(Math.min(side, 2), Math.floor(side * fit + 1e-9)));
}

/** The other grids a grid can be moved to, { scale, grid }: each once, and to the side it says. */
export function otherGrids(grid) {
  const all = GRID_SCALES.map((scale) => ({ scale, grid: scaledGrid(grid, scale) }));
  return all.filter(
    ({ scale, grid: other }, at) =>
      Math.sign(area(other) - area(grid)) === Math.sign(scale - 1) &&
      all.findLastIndex((each) => alike(each.grid, other)) === at,
  );
}

/** The factor that a side really grows by. */
const factorOf = (grid, other) => short(Number(Math.sqrt(area(other) / area(grid)).toPrecision(2)));

/**
 * Where in another grid the place of a patch lies: the position that covers its centre.
 * @param {Pair} grid
 * @param {Model} model
 * @param {number} token
 */
function placeIn([rows, columns], model, token) {
  const cell = cellOf(model, token);
  return [rows, columns].map((count, axis) =>
    Math.min(count - 1, Math.floor(((cell[axis] + 0.5) / model.grid[axis]) * count)),
  );
}

/** @param {Context} context */
export function createOtherGrid(context) {
  const { store } = context;
  const chooser = el("div", { class: "chooser" });
  const size = el("code");
  /** @type {{ of: string, show: (scale?: number) => void }} */
  let choice = { of: "", show: () => {} };

  /** A button for each grid that this one can be moved to. */
  function offer(grid) {
    if (choice.of === String(grid)) return;
    const buttons = segmented(
      t("positions.grid.size"),
      otherGrids(grid).map((other) => [other.scale, `× ${factorOf(grid, other.grid)}`]),
      (gridScale) => store.set({ gridScale }),
    );
    replace(chooser, buttons.node, size);
    choice = { of: String(grid), show: buttons.show };
  }
  const maps = ["before", "after"].map((kind) => {
    const canvas = el("canvas", { class: "pixelated", role: "img" });
    const caption = el("figcaption", { class: "caption" });
    return { kind, canvas, caption, node: el("figure", {}, canvas, caption) };
  });
  const menu = createFigureMenu(context, "positions-other-grid", {
    title: () => t("positions.grid"),
    detail: ({ result, gridScale }) => scaledGrid(result.model.grid, gridScale).join("×"),
    figure: () => ({ ...canvasFigure(maps[1].canvas), bar: positionBar() }),
    table: (state) => gridTable(movedOf(state), scaledGrid(state.result.model.grid, state.gridScale), "cosine"),
    code: (state) => {
      const { model } = state.result;
      const grid = scaledGrid(model.grid, state.gridScale);
      return { figure: "positions", grid, place: placeIn(grid, model, positionsOf(state).token) };
    },
  });
  const node = el(
    "div",
    { class: "position-part" },
    el("h3", {}, t("positions.grid"), menu),
    chooser,
    el(
      "div",
      { class: "before-after" },
      maps.map((map) => map.node),
    ),
    el("p", { class: "note" }, t("positions.grid.help")),
  );

  /** @param {State} state */
  const movedNumbers = ({ result, gridScale }) =>
    numbersOf(result, `positions/${scaledGrid(result.model.grid, gridScale).join("/")}`);

  /**
   * The similarities of the chosen patch's place in the other grid; null while they are not here.
   * @param {State} state
   */
  function movedOf(state) {
    const { model } = state.result;
    const [rows, columns] = scaledGrid(model.grid, state.gridScale);
    const [row, column] = placeIn([rows, columns], model, positionsOf(state).token);
    const start = (row * columns + column) * rows * columns;
    const found = movedNumbers(state)?.arrays?.similarity;
    return found ? found.subarray(start, start + rows * columns) : null;
  }

  /** @param {State} state */
  function draw(state, { values }) {
    const { model } = state.result;
    offer(model.grid);
    const [rows, columns] = scaledGrid(model.grid, state.gridScale);
    // Two scales may lead to one grid, which has one button.
    choice.show(otherGrids(model.grid).find(({ grid }) => alike(grid, [rows, columns]))?.scale);
    const sizes = [model.grid, [rows, columns]].map((sides) => sides.join("×"));
    setText(size, sizes.join(" → "));
    const moved = movedOf(state);
    menu.hidden = !moved;
    paint(maps[0], values, model.grid);
    if (moved) paint(maps[1], moved, [rows, columns]);
    else setText(maps[1].caption, t(movedNumbers(state)?.failed ? "tables.failed" : "tables.waiting"));
  }

  function paint({ kind, canvas, caption }, values, grid) {
    [canvas.height, canvas.width] = grid;
    const image = thumbnail(values, grid, tableFor(POSITION_COLOURS), COSINES);
    canvas.getContext("2d").putImageData(image, 0, 0);
    const text = t(`positions.grid.${kind}`, { grid: grid.join("×") });
    setText(caption, text);
    canvas.setAttribute("aria-label", text);
  }
  return { node, draw };
}
