// Positions: which positions the model holds alike, for the patch that every view follows.

import { createColourBar } from "../colour_bar.js";
import { tableFor } from "../colours.js";
import { el, setText } from "../dom.js";
import { cellOf, extremePatch, middleToken, tokenAt, tokenName } from "../geometry.js";
import { createPatchCanvas } from "../patch_canvas.js";
import { enlarge, level } from "../pixels.js";
import { drawPositionMaps, POSITION_COLOURS } from "../position_maps.js";
import { queryToken } from "../store.js";
import { t } from "../words.js";

const LIMITS = [-1, 1];

export function createPositionsView({ store }) {
  const title = el("h3");
  const says = el("p", { class: "says", "aria-live": "polite" });
  const bar = createColourBar((value) => value.toFixed(0));
  const canvas = createPatchCanvas({ store, label: t("positions.canvas"), paint });
  const help = el("p", { class: "note" });
  const all = el("canvas", {
    class: "all-positions",
    role: "img",
    "aria-label": t("positions.all"),
    onclick: pick,
  });
  const note = el("p", { class: "caption" });
  const missing = el(
    "div",
    { class: "card empty", hidden: true },
    el("h3", {}, t("positions.none")),
    note,
  );
  const maps = el(
    "div",
    { class: "split" },
    el(
      "div",
      { class: "stage" },
      title,
      canvas.canvas,
      bar.node,
      says,
      help,
    ),
    el(
      "div",
      { class: "side" },
      el("h3", {}, t("positions.all")),
      all,
      el("p", { class: "note" }, t("positions.all.help")),
    ),
  );
  const node = el("section", { class: "view view-positions" }, missing, maps);
  let drawnAll = "";

  /** One position's similarities; a prefix token has no place in the grid, so the middle stands in. */
  function rowOf(state) {
    const { model, positions } = state.result;
    const query = queryToken(state);
    const token = cellOf(model, query) ? query : middleToken(model);
    const count = model.grid[0] * model.grid[1];
    const at = (token - model.prefix.length) * count;
    return { token, values: positions.values.subarray(at, at + count) };
  }

  function paint(context, width, height, state) {
    if (!state.result.positions.values) return;
    const table = tableFor(POSITION_COLOURS);
    const large = enlarge(
      rowOf(state).values,
      state.result.model.grid,
      width,
      height,
      state.smooth,
    );
    const image = new ImageData(width, height);
    for (let i = 0; i < large.length; i += 1) {
      const colour = level(large[i], LIMITS) * 3;
      image.data.set([table[colour], table[colour + 1], table[colour + 2], 255], i * 4);
    }
    context.putImageData(image, 0, 0);
  }

  function drawAll({ model, positions }) {
    drawPositionMaps(all, positions.values, model.grid, LIMITS);
  }

  function pick(event) {
    const { model } = store.get().result;
    const bounds = all.getBoundingClientRect();
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * model.grid[0]);
    const column = Math.floor(((event.clientX - bounds.left) / bounds.width) * model.grid[1]);
    store.set({ pinned: tokenAt(model, row, column), hover: null });
  }

  function describe(state) {
    const { model } = state.result;
    const { token, values } = rowOf(state);
    const others = values.slice();
    others[token - model.prefix.length] = -2;
    const best = extremePatch(others, 0);
    const worst = extremePatch(values, 0, -1);
    const place = (patch) => cellOf(model, patch + model.prefix.length).map((place) => place + 1);
    const [row, column] = place(best);
    const [lowRow, lowColumn] = place(worst);
    setText(title, t("positions.one", { token: tokenName(model, token) }));
    setText(
      says,
      t("positions.says", {
        row,
        column,
        value: values[best].toFixed(2),
        lowRow,
        lowColumn,
        low: values[worst].toFixed(2),
      }),
    );
  }

  function draw(state) {
    if (!state.result || state.tab !== "positions") return;
    const { positions, model } = state.result;
    missing.hidden = Boolean(positions.values);
    maps.hidden = !positions.values;
    setText(note, positions.note);
    if (!positions.values) return;
    node.style.setProperty("--aspect", String(model.grid[1] / model.grid[0]));
    canvas.draw();
    bar.show(tableFor(POSITION_COLOURS), LIMITS);
    describe(state);
    setText(help, t("positions.help", { kind: model.position }));
    if (drawnAll !== model.key) drawAll(state.result);
    drawnAll = model.key;
  }

  store.on(["result", "hover", "pinned", "smooth"], draw);
  return { node, draw: () => draw(store.get()) };
}
