// Every head as a switch, a column a layer; each shows what the class token looks at by it.

import { el } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { tableFor } from "../../maps/colours.js";
import { startToken } from "../../maps/geometry.js";
import { maximum, thumbnail } from "../../maps/pixels.js";
import { change, headNumber } from "../../state/edits.js";
import { stepInGrid } from "../../controls/grid_keys.js";

/** @param {Context} context */
export function createHeadSwitches({ store }) {
  const node = el("div", {
    class: "switches map-cells",
    role: "group",
    "aria-label": t("whatif.heads"),
    onkeydown: move,
  });
  let cells = [];
  let layers = [];
  let built = "";
  let drawn = "";

  /** @param {Model} model */
  function rebuild(model) {
    node.style.setProperty("--layers", String(model.depth));
    node.style.setProperty("--heads", String(model.heads));
    node.style.setProperty("--cell-aspect", String(model.grid[1] / model.grid[0]));
    const numbers = Array.from({ length: model.depth }, (_, layer) => layer);
    layers = numbers.map((layer) =>
      el(
        "button",
        {
          type: "button",
          class: "switch-layer",
          "aria-label": t("whatif.layer", { layer: layer + 1 }),
          title: t("whatif.layer", { layer: layer + 1 }),
          onclick: () => flipLayer(layer),
        },
        String(layer + 1),
      ),
    );
    cells = Array.from({ length: model.heads }, (_, head) =>
      numbers.map((layer) => createSwitch(model, layer, head)),
    ).flat();
    node.replaceChildren(...layers, ...cells.map((cell) => cell.button));
  }

  /**
   * @param {Model} model
   * @param {number} layer
   */
  function createSwitch(model, layer, head) {
    const name = t("heads.index.one", { layer: layer + 1, head: head + 1 });
    const canvas = el("canvas", { width: model.grid[1], height: model.grid[0] });
    const number = headNumber(model, layer, head);
    const button = el(
      "button",
      {
        type: "button",
        role: "switch",
        tabindex: "-1",
        title: name,
        "aria-label": name,
        dataset: { layer: String(layer), head: String(head) },
        onclick: () => flip([number]),
      },
      canvas,
    );
    return { layer, head, number, button, canvas };
  }

  /** Switch heads on where all of them are off, else off. */
  function flip(numbers) {
    const off = new Set(store.get().edit.heads);
    const all = numbers.every((number) => off.has(number));
    for (const number of numbers) {
      if (all) off.delete(number);
      else off.add(number);
    }
    change(store, { heads: [...off] });
  }

  /** @param {number} layer */
  function flipLayer(layer) {
    flip(cells.filter((cell) => cell.layer === layer).map((cell) => cell.number));
  }

  function move(event) {
    stepInGrid(event, cells, store.get().result.model.depth);
  }

  /** @param {State} state */
  function paint(state) {
    const { model, attention } = state.result;
    const table = tableFor(state.colormap);
    for (const { layer, head, canvas } of cells) {
      const query = startToken(model);
      const map = attention.data.map({ layer, head, query, direction: "from" });
      if (!map) continue;
      const values = map.subarray(model.prefix.length);
      const image = thumbnail(values, model.grid, table, [0, maximum(values) || 1]);
      canvas.getContext("2d").putImageData(image, 0, 0);
    }
  }

  /** @param {State} state */
  function draw(state) {
    const { model, pass, attention } = state.result;
    if (!attention.whole)
      attention.data.loadQuery(startToken(model));
    const shape = `${model.depth} ${model.heads} ${model.grid}`;
    if (shape !== built) rebuild(model);
    built = shape;
    const off = new Set(state.edit.heads);
    for (const { number, button } of cells)
      button.setAttribute("aria-checked", String(!off.has(number)));
    if (!cells.some(({ button }) => button.tabIndex === 0)) cells[0].button.tabIndex = 0;
    const loaded = attention.data.count;
    const key = [shape, pass, loaded, state.colormap].join();
    if (key !== drawn) paint(state);
    drawn = key;
  }
  return { node, draw };
}
