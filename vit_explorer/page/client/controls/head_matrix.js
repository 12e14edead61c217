// Every layer and head as a thumbnail: what the pinned token looks at. Choosing one shows it large.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { tableFor } from "../maps/colours.js";
import { tokenName } from "../maps/geometry.js";
import { maximum, thumbnail } from "../maps/pixels.js";
import { stepInGrid } from "./grid_keys.js";

/** @param {Pick<Context, "store">} context */
export function createHeadMatrix({ store }) {
  const title = el("h3");
  const rows = el("div", { class: "matrix map-cells", role: "group", onkeydown: move });
  const node = el("div", { class: "matrix-box" }, title, rows);
  let cells = [];
  let built = "";
  let drawn = "";

  /** @param {Model} model */
  function rebuild(model) {
    cells = [];
    rows.style.setProperty("--heads", String(model.heads));
    rows.style.setProperty("--layers", String(model.depth));
    rows.style.setProperty("--cell-aspect", String(model.grid[1] / model.grid[0]));
    const numbers = Array.from({ length: model.heads }, (_, head) =>
      el("span", { class: "cells-number", "aria-hidden": "true" }, String(head + 1)),
    );
    const children = [el("span"), ...numbers];
    for (let layer = 0; layer < model.depth; layer += 1) {
      children.push(
        el("span", { class: "matrix-layer", "aria-hidden": "true" }, String(layer + 1)),
      );
      for (let head = 0; head < model.heads; head += 1) {
        const canvas = el("canvas", { width: model.grid[1], height: model.grid[0] });
        const button = el(
          "button",
          {
            type: "button",
            tabindex: "-1",
            "aria-label": t("heads.index.one", { layer: layer + 1, head: head + 1 }),
            onclick: () => store.set({ layer, head }),
          },
          canvas,
        );
        cells.push({ layer, head, button, canvas });
        children.push(button);
      }
    }
    rows.replaceChildren(...children);
  }

  function move(event) {
    stepInGrid(event, cells, store.get().result.model.heads)?.button.click();
  }

  /** @param {State} state */
  function mark(state) {
    const chosen = (cell) =>
      cell.layer === state.layer && (typeof state.head !== "number" || cell.head === state.head);
    const reachable = cells.find(chosen);
    for (const cell of cells) {
      cell.button.setAttribute("aria-pressed", String(chosen(cell)));
      cell.button.tabIndex = cell === reachable ? 0 : -1;
    }
  }

  /** @param {State} state */
  function paint(state) {
    const { model, attention } = state.result;
    const table = tableFor(state.colormap);
    for (const { layer, head, canvas } of cells) {
      const query = state.pinned;
      const map = attention.data.map({ layer, head, query, direction: state.direction });
      if (!map) continue;
      const values = map.subarray(model.prefix.length);
      const image = thumbnail(values, model.grid, table, [0, maximum(values) || 1]);
      canvas.getContext("2d").putImageData(image, 0, 0);
    }
  }

  /** @param {State} state */
  function draw(state) {
    const { model } = state.result;
    const shape = `${model.depth} ${model.heads} ${model.grid}`;
    if (shape !== built) rebuild(model);
    built = shape;
    mark(state);
    setText(title, t("heads.index", { token: tokenName(model, state.pinned) }));
    const { pass, attention } = state.result;
    const loaded = attention.data.count;
    const key = [shape, pass, loaded, state.pinned, state.direction, state.colormap].join();
    if (key !== drawn) paint(state);
    drawn = key;
  }
  return { node, draw };
}
