// What else there is to see of position embeddings: all maps, colours, profiles, another grid.

import { el, segmented, setText } from "../../base/dom.js";
import { fixed, percent } from "../../base/format.js";
import { svg } from "../../base/svg.js";
import { list, t } from "../../base/words.js";
import { drawProfile } from "../../charts/profile.js";
import { canvasFigure, createFigureMenu } from "../../controls/figure_menu.js";
import {
  COSINES,
  drawPositionMaps,
  positionBar,
  positionsOf,
  similarityTable,
} from "../../controls/position_maps.js";
import { cellOf, tokenAt, tokenName } from "../../maps/geometry.js";
import { range } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { createOtherGrid } from "./position_grids.js";

export const PARTS = ["all", "components", "profile", "grid"];

function colourTable({ arrays, shapes }) {
  const [rows, columns] = shapes.colours;
  const cells = Array.from({ length: rows * columns }, (_, at) => [
    Math.floor(at / columns) + 1,
    (at % columns) + 1,
    ...arrays.colours.subarray(at * 3, at * 3 + 3),
  ]);
  return [["row", "column", "component 1", "component 2", "component 3"], ...cells];
}

/**
 * A click on a drawing of the whole grid pins the patch that lies there.
 * @param {Store} store
 */
function pickIn(store, node) {
  return (event) => {
    const { model } = store.get().result;
    const bounds = node.getBoundingClientRect();
    const share = [
      (event.clientY - bounds.top) / bounds.height,
      (event.clientX - bounds.left) / bounds.width,
    ];
    const [row, column] = share.map((from, axis) =>
      Math.min(model.grid[axis] - 1, Math.max(0, Math.floor(from * model.grid[axis]))),
    );
    store.set({ pinned: tokenAt(model, row, column), hover: null });
  };
}

function part(...children) {
  return el("div", { class: "position-part" }, ...children);
}

/** @param {Context} context */
export function createAllMaps(context) {
  const { store } = context;
  const canvas = el("canvas", {
    class: "all-positions",
    role: "img",
    "aria-label": t("positions.all"),
  });
  canvas.addEventListener("click", pickIn(store, canvas));
  const menu = createFigureMenu(context, "all-positions", {
    title: () => t("positions.all"),
    figure: () => ({ ...canvasFigure(canvas), bar: positionBar() }),
    table: ({ result: { model, positions } }) => similarityTable(positions.values, model.grid),
    whole: () => ({ path: "positions", alone: true }),
    code: () => ({ figure: "positions" }),
  });
  const node = part(
    el("h3", {}, t("positions.all"), menu),
    canvas,
    el("p", { class: "note" }, t("positions.all.help")),
  );
  let drawn = "";

  /** @param {State} state */
  function draw({ result: { model, positions } }) {
    if (drawn !== model.key) drawPositionMaps(canvas, positions.values, model.grid, COSINES);
    drawn = model.key;
  }
  return { node, draw };
}

/** @param {Context} context */
export function createComponents(context) {
  const { store } = context;
  const canvas = el("canvas", {
    class: "all-positions components pixelated",
    role: "img",
    "aria-label": t("positions.components"),
  });
  canvas.addEventListener("click", pickIn(store, canvas));
  const text = el("p", { class: "note" });
  const menu = createFigureMenu(context, "position-components", {
    title: () => t("positions.components"),
    figure: () => canvasFigure(canvas),
    table: (state) => colourTable(numbersOf(state.result, "components")),
    code: () => ({ figure: "position-components" }),
  });
  const node = part(el("h3", {}, t("positions.components"), menu), canvas, text);

  /** @param {State} state */
  function draw({ result }) {
    const found = numbersOf(result, "components");
    menu.hidden = !found?.arrays?.colours;
    if (!found?.arrays?.colours) {
      setText(text, t(found ? "tables.failed" : "tables.waiting"));
      return;
    }
    const [rows, columns] = found.shapes.colours;
    const image = new ImageData(columns, rows);
    for (let at = 0; at < rows * columns; at += 1) {
      const colour = found.arrays.colours.subarray(at * 3, at * 3 + 3);
      image.data.set([...Array.from(colour, (value) => Math.round(255 * value)), 255], at * 4);
    }
    [canvas.width, canvas.height] = [columns, rows];
    canvas.getContext("2d").putImageData(image, 0, 0);
    setText(text, t("positions.components.help", { shares: list(found.facts.explained.map(percent)) }));
  }
  return { node, draw };
}

const KINDS = ["row", "column"];

/** The names of both lines. */
const lineNames = ({ row, column }) => [
  t("positions.profile.row", { row: row + 1 }),
  t("positions.profile.column", { column: column + 1 }),
];

/**
 * The similarities along a patch's row and down its column.
 * @param {State} state
 */
function linesOf({ result: { model } }, { token, values }) {
  const [rows, columns] = model.grid;
  const [row, column] = cellOf(model, token);
  return {
    along: values.subarray(row * columns, (row + 1) * columns),
    down: Float32Array.from({ length: rows }, (_, at) => values[at * columns + column]),
    row,
    column,
  };
}

/** @param {Context} context */
export function createProfile(context) {
  const plot = svg("svg", { role: "img", class: "profile" });
  const keys = KINDS.map((kind) => el("span", { class: `line-key ${kind}` }));
  const text = el("p", { class: "note" });
  const menu = createFigureMenu(context, "position-profile", {
    title: () => t("positions.profile"),
    detail: (state) => tokenName(state.result.model, positionsOf(state).token),
    figure: (state) => {
      const names = lineNames(linesOf(state, positionsOf(state)));
      return { svg: plot, keys: KINDS.map((kind, at) => [`.line.${kind}`, names[at]]) };
    },
    table: (state) => {
      const { along, down } = linesOf(state, positionsOf(state));
      const line = (name, values) => Array.from(values, (value, at) => [name, at + 1, value]);
      return [["line", "place", "cosine"], ...line("row", along), ...line("column", down)];
    },
    code: (state) => ({
      figure: "position-profile",
      place: cellOf(state.result.model, positionsOf(state).token),
    }),
  });
  const node = part(
    el("h3", {}, t("positions.profile"), menu),
    el("p", { class: "line-keys" }, keys),
    plot,
    text,
  );

  /** @param {State} state */
  function draw(state, { token, values }) {
    const { model } = state.result;
    const { along, down, row, column } = linesOf(state, { token, values });
    const names = lineNames({ row, column });
    keys.forEach((key, at) => setText(key, names[at]));
    const low = Math.min(0, Math.floor(range(values)[0] * 4) / 4);
    drawProfile(
      plot,
      [
        { values: along, name: names[0], kind: "row", here: column },
        { values: down, name: names[1], kind: "column", here: row },
      ],
      [low, 1],
    );
    const name = tokenName(model, token);
    const [[rowLow, rowHigh], [columnLow, columnHigh]] = [along, down].map((line) =>
      range(line).map((value) => fixed(value, 2)),
    );
    const said = { token: name, rowLow, rowHigh, columnLow, columnHigh };
    plot.setAttribute("aria-label", t("positions.profile.alt", said));
    setText(text, t("positions.profile.help", { token: name }));
  }
  return { node, draw };
}

/**
 * The parts behind a row of buttons, one at a time.
 * @param {Context} context
 */
export function createParts(context) {
  const { store } = context;
  const parts = {
    all: createAllMaps(context),
    components: createComponents(context),
    profile: createProfile(context),
    grid: createOtherGrid(context),
  };
  const choice = segmented(
    t("positions.parts"),
    PARTS.map((name) => [name, t(`positions.part.${name}`)]),
    (positionsPart) => store.set({ positionsPart }),
  );
  const nodes = Object.values(parts).map(({ node }) => node);
  const node = el("div", { class: "side" }, choice.node, nodes);

  /** @param {State} state */
  function draw(state, chosen) {
    choice.show(state.positionsPart);
    for (const [name, each] of Object.entries(parts)) each.node.hidden = name !== state.positionsPart;
    parts[state.positionsPart].draw(state, chosen);
  }
  return { node, draw };
}
