// A thumbnail a layer: pointing at one points at its patch in every view, clicking chooses the layer.

import { el, setText } from "../base/dom.js";
import { cellOf, tokenAt } from "../maps/geometry.js";
import { thumbnail } from "../maps/pixels.js";
import { queryToken } from "../state/store.js";

export function createLayerStrip({ store, label }) {
  const node = el("div", {
    class: "layer-strip",
    role: "group",
    "aria-label": label,
    onkeydown: move,
  });
  let thumbs = [];
  let built = "";

  /** @param {Model} model */
  function rebuild({ depth, grid }) {
    node.style.setProperty("--cell-aspect", String(grid[1] / grid[0]));
    thumbs = Array.from({ length: depth }, (_, layer) => {
      const canvas = el("canvas", { width: grid[1], height: grid[0] });
      const ring = el("span", { class: "strip-ring" });
      const caption = el("span", { class: "strip-caption" });
      const button = el(
        "button",
        {
          type: "button",
          dataset: { layer: String(layer) },
          onclick: () => store.set({ layer }),
          onpointermove: (event) => point(event, canvas),
          onpointerleave: () => store.set({ hover: null }),
        },
        el("span", { class: "strip-map" }, canvas, ring),
        caption,
      );
      return { button, canvas, ring, caption };
    });
    node.replaceChildren(...thumbs.map(({ button }) => button));
  }

  /** @param {HTMLCanvasElement} canvas */
  function point(event, canvas) {
    if (event.pointerType !== "mouse") return;
    const { model } = store.get().result;
    const [rows, columns] = model.grid;
    const bounds = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * rows);
    const column = Math.floor(((event.clientX - bounds.left) / bounds.width) * columns);
    const inside = row >= 0 && column >= 0 && row < rows && column < columns;
    store.set({ hover: inside ? tokenAt(model, row, column) : null });
  }

  function move(event) {
    const at = thumbs.findIndex(({ button }) => button === document.activeElement);
    const next = thumbs[at + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN)];
    if (at < 0 || !next) return;
    event.preventDefault();
    next.button.focus();
    next.button.click();
  }

  /**
   * `maps`: values a layer; `limits(layer)`: the scale; `caption(layer)`: what stands beneath.
   * @param {State} state
   */
  function draw(state, { maps, table, limits, caption }) {
    const { model } = state.result;
    const shape = `${model.depth} ${model.grid}`;
    if (shape !== built) rebuild(model);
    built = shape;
    const cell = cellOf(model, queryToken(state));
    thumbs.forEach(({ button, canvas, ring, caption: words }, layer) => {
      const image = thumbnail(maps[layer], model.grid, table, limits(layer));
      canvas.getContext("2d").putImageData(image, 0, 0);
      button.setAttribute("aria-pressed", String(layer === state.layer));
      button.tabIndex = layer === state.layer ? 0 : -1;
      setText(words, caption(layer));
      ring.hidden = !cell;
      if (!cell) return;
      const [rows, columns] = model.grid;
      ring.style.inset = [
        cell[0] / rows,
        1 - (cell[1] + 1) / columns,
        1 - (cell[0] + 1) / rows,
        cell[1] / columns,
      ]
        .map((share) => `${share * 100}%`)
        .join(" ");
    });
  }
  return { node, draw };
}
