// Every layer of every method that reads one: choosing a thumbnail shows it in the gallery.

import { el, replace, setText } from "../../base/dom.js";
import { lackOfMethod } from "../../base/lacks.js";
import { t } from "../../base/words.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { createProgress } from "../../controls/progress.js";
import { tableFor } from "../../maps/colours.js";
import { thumbnail } from "../../maps/pixels.js";
import { analysesOf, ask, jobOf, stop } from "../../state/analyses.js";
import { chooseLayer, layerOf } from "../../state/chosen_maps.js";
import { stepInGrid } from "../../controls/grid_keys.js";

const JOB = "layers";

// The saved matrix: its width, the part of it that the names take, and the room of the numbers.
const [WIDE, NAMES, NUMBERS] = [800, 170, 22];

/**
 * What a layer is of a model in stages: the module's name and its grid.
 * @param {Model} model
 * @param {number} layer
 */
function stageName({ stages }, layer) {
  const stage = stages[layer];
  return stage ? `${stage.name} ${stage.grid.join("×")}` : null;
}

/** @param {Context} context */
export function createLayerMatrix(context) {
  const { store, setup } = context;
  /**
   * The methods that read one layer, of those that the model allows.
   * @param {Result} result
   */
  const namesOf = ({ model }) =>
    setup.methods
      .filter((method) => method.layered && !lackOfMethod(model, method))
      .map(({ name }) => name);
  const rows = el("div", { class: "layer-matrix map-cells", role: "group", "aria-label": t("explain.bylayer"), onkeydown: move });
  const progress = createProgress(t("explain.bylayer"));
  const words = el("p", { class: "note", role: "status" });
  const starter = el("button", { type: "button", onclick: press });
  const help = el("p", { class: "note" }, t("explain.bylayer.help"));
  const menu = createFigureMenu(context, "layers-of-methods", {
    title: () => t("explain.bylayer"),
    targeted: () => true,
    figure: (state) => ({ paint: paintFigure, aspect: WIDE / heightOf(state) }),
    table: (state) => [["method", "layer", "row", "column", "value"], ...linesOf(state)],
    code: ({ result }) => ({ figure: "layer-maps", layers: layersOf(result) }),
  });
  const node = el(
    "details",
    { class: "card layers-card", ontoggle: () => store.set({ byLayerOpen: node.open }) },
    el("summary", {}, el("h3", {}, t("explain.bylayer")), el("small", {}, t("explain.bylayer.what"))),
    el("div", { class: "layers-work" }, help, progress.node, starter, words, menu),
    rows,
  );
  let cells = [];
  let built = "";
  let painted = "";

  function press() {
    const { result } = store.get();
    if (jobOf(result, JOB)) stop(result, JOB);
    else ask(result, JOB, { ask: "layers" });
  }

  /** @param {State} state */
  function rebuild({ result }) {
    const { depth, grid } = result.model;
    rows.style.setProperty("--layers", String(depth));
    rows.style.setProperty("--cell-aspect", String(grid[1] / grid[0]));
    cells = [];
    const heads = Array.from({ length: depth }, (_, layer) =>
      el(
        "span",
        { class: "cells-number", "aria-hidden": "true", title: stageName(result.model, layer) },
        String(layer + 1),
      ),
    );
    const lines = namesOf(result).map((name) => {
      const title = t(`method.${name}.title`);
      const line = Array.from({ length: depth }, (_, layer) => createCell(name, layer, title, grid));
      return [el("span", { class: "layer-name", title }, title), ...line];
    });
    replace(rows, el("span"), heads, lines.flat());
  }

  /** @param {number} layer */
  function createCell(name, layer, title, grid) {
    const canvas = el("canvas", { width: grid[1], height: grid[0] });
    const button = el(
      "button",
      {
        type: "button",
        tabindex: cells.length ? "-1" : "0",
        disabled: true,
        "aria-label": t("explain.bylayer.one", { title, layer: layer + 1 }),
        onclick: () => chooseLayer(store, setup, name, layer),
      },
      canvas,
    );
    cells.push({ name, layer, button, canvas });
    return button;
  }

  function move(event) {
    stepInGrid(event, cells, store.get().result.model.depth);
  }

  /** @param {State} state */
  function paint(state) {
    const { layers } = analysesOf(state.result);
    for (const { name, layer, button, canvas } of cells) {
      const map = layers[name]?.[layer];
      button.disabled = !map;
      if (!map) {
        canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
        continue;
      }
      const table = tableFor(state.colormap, map.signed);
      [canvas.height, canvas.width] = map.grid;
      const image = thumbnail(map.values, map.grid, table, map.limits);
      canvas.getContext("2d").putImageData(image, 0, 0);
    }
  }

  /**
   * Methods that this model has a map of at some layer.
   * @param {Result} result
   */
  const shownOf = (result) => namesOf(result).filter((name) => analysesOf(result).layers[name]?.some(Boolean));

  /**
   * The layers that there is a map of, by the method.
   * @param {Result} result
   * @returns {Record<string, number[]>}
   */
  const layersOf = (result) =>
    Object.fromEntries(
      shownOf(result).map((name) => [
        name,
        analysesOf(result).layers[name].flatMap((map, layer) => (map ? [layer] : [])),
      ]),
    );

  /**
   * Height of one row of the saved matrix, in which a cell is as wide as the layers leave it.
   * @param {State} state
   */
  const rowOf = ({ result: { model } }) =>
    ((WIDE - NAMES) / model.depth) * (model.grid[0] / model.grid[1]);

  /** @param {State} state */
  const heightOf = (state) => NUMBERS + shownOf(state.result).length * rowOf(state);

  /** @param {number} width */
  function paintFigure(drawing, width) {
    const state = store.get();
    const { depth } = state.result.model;
    const [wide, high] = [(WIDE - NAMES) / depth, rowOf(state)];
    const shown = shownOf(state.result);
    drawing.scale(width / WIDE, width / WIDE);
    drawing.imageSmoothingEnabled = false;
    drawing.font = "13px system-ui, sans-serif";
    drawing.fillStyle = "#1a1a1a";
    drawing.textBaseline = "middle";
    shown.forEach((name, row) =>
      drawing.fillText(t(`method.${name}.title`), 0, NUMBERS + (row + 0.5) * high, NAMES - 8),
    );
    drawing.textAlign = "center";
    for (let layer = 0; layer < depth; layer += 1)
      drawing.fillText(String(layer + 1), NAMES + (layer + 0.5) * wide, NUMBERS / 2);
    for (const { name, layer, canvas } of cells) {
      const row = shown.indexOf(name);
      if (row < 0) continue;
      drawing.drawImage(canvas, NAMES + layer * wide, NUMBERS + row * high, wide - 2, high - 2);
    }
  }

  /** @param {State} state */
  function linesOf({ result }) {
    return shownOf(result).flatMap((name) =>
      analysesOf(result).layers[name].flatMap((map, layer) =>
        Array.from(map?.values ?? [], (value, at) => [
          name,
          layer + 1,
          Math.floor(at / map.grid[1]) + 1,
          (at % map.grid[1]) + 1,
          value,
        ]),
      ),
    );
  }

  /** @param {State} state */
  function need({ result }) {
    const { layers, failed } = analysesOf(result);
    if (JOB in failed || jobOf(result, JOB) || namesOf(result).every((name) => layers[name])) return;
    ask(result, JOB, { ask: "layers" });
  }

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    node.open = state.byLayerOpen;
    if (!node.open) return;
    const shape = `${result.model.depth} ${result.model.grid} ${namesOf(result)}`;
    if (shape !== built) rebuild(state);
    built = shape;
    if (!state.busy) need(state);
    const { layers, failed } = analysesOf(result);
    const job = jobOf(result, JOB);
    progress.show(job);
    menu.hidden = !shownOf(result).length;
    starter.hidden = !job && !(JOB in failed);
    setText(starter, t(job ? "action.stop" : "explain.bylayer.run"));
    setText(words, failed[JOB] ?? "");
    const key = [shape, result.key, Object.keys(layers), state.colormap].join();
    if (key !== painted) paint(state);
    painted = key;
    for (const { name, layer, button } of cells) {
      const shown = layerOf(state, name) ?? result.model.depth - 1;
      button.setAttribute("aria-pressed", String(layer === shown));
    }
  }
  return { node, draw };
}
