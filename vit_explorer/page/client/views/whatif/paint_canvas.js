// The picture with patches painted away: dragging takes them or brings them back, as does the keyboard.

import { el, setText } from "../../base/dom.js";
import { hint } from "../../base/hints.js";
import { t } from "../../base/words.js";
import { createPatchCanvas, markCell, OUTLINE } from "../../controls/patch_canvas.js";
import { cellOf, tokenName } from "../../maps/geometry.js";
import { change, redo, undo } from "../../state/edits.js";

/** Patches under a square brush of `size` patches a side, around a cell. */
function under([rows, columns], [row, column], size) {
  const reach = (size - 1) / 2;
  const patches = [];
  for (let down = Math.max(0, row - reach); down <= Math.min(rows - 1, row + reach); down += 1) {
    for (let at = Math.max(0, column - reach); at <= Math.min(columns - 1, column + reach); at += 1)
      patches.push(down * columns + at);
  }
  return patches;
}

/** Cells on the straight way between two, so that a fast stroke leaves no gaps. */
function between([fromRow, fromColumn], [row, column]) {
  const steps = Math.max(Math.abs(row - fromRow), Math.abs(column - fromColumn), 1);
  return Array.from({ length: steps }, (_, step) => [
    Math.round(fromRow + ((row - fromRow) * (step + 1)) / steps),
    Math.round(fromColumn + ((column - fromColumn) * (step + 1)) / steps),
  ]);
}

/** @param {Context} context */
export function createPaintCanvas({ store }) {
  const label = t("whatif.canvas");
  const patches = createPatchCanvas({ store, label, paint: paintMarked, marker: "brushAt", taps: false });
  const pinned = createPinned(store);
  const { canvas } = patches;
  let stroke = null;

  canvas.classList.add("paint-canvas");
  canvas.addEventListener("pointerdown", begin);
  canvas.addEventListener("pointermove", follow);
  for (const event of ["pointerup", "pointercancel"])
    canvas.addEventListener(event, () => (stroke = null));
  canvas.addEventListener("keydown", press);

  /** Take away or bring back what lies under the brush at some cells. */
  function apply(cells, away, joined) {
    const { result, brush, edit } = store.get();
    const touched = cells.flatMap((cell) => under(result.model.grid, cell, brush));
    const gone = new Set(edit.patches);
    for (const patch of touched) {
      if (away) gone.add(patch);
      else gone.delete(patch);
    }
    return change(store, { patches: [...gone] }, { joined });
  }

  function cellUnder() {
    const { result, hover, brushAt } = store.get();
    const token = hover ?? brushAt;
    return result && token !== null && cellOf(result.model, token);
  }

  /** @param {Pair} cell */
  const isGone = ([row, column]) => {
    const { result, edit } = store.get();
    return edit.patches.includes(row * result.model.grid[1] + column);
  };

  function begin(event) {
    const cell = cellUnder();
    if (!cell || event.button) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    stroke = { last: cell, away: !isGone(cell) };
    stroke.joined = apply([cell], stroke.away, false);
  }

  function follow() {
    const { hover, result } = store.get();
    const cell = stroke && hover !== null && cellOf(result.model, hover);
    if (!cell || String(cell) === String(stroke.last)) return;
    const changed = apply(between(stroke.last, cell), stroke.away, stroke.joined);
    stroke.joined ||= changed;
    stroke.last = cell;
  }

  function press(event) {
    if (!store.get().result) return;
    const cell = cellUnder();
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      (event.shiftKey ? redo : undo)(store);
    } else if ((event.key === " " || event.key === "Enter") && cell) {
      apply([cell], !isGone(cell), false);
    } else if (event.shiftKey && event.key.startsWith("Arrow") && cell) {
      // The arrow has moved the marker already.
      apply([cell], true, false);
    } else {
      return;
    }
    event.preventDefault();
  }

  /**
   * The picture as it is painted, with the patch that is pinned in every view.
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paintMarked(context, width, height, state) {
    paint(context, width, height, state);
    markCell(context, [0, 0, width, height], state.result.model, state.pinned, width / canvas.clientWidth, true);
  }

  /**
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(context, width, height, state) {
    const { model } = state.result;
    const [rows, columns] = model.grid;
    context.putImageData(state.image.pixels(width, height), 0, 0);
    const [wide, high] = [width / columns, height / rows];
    const style = getComputedStyle(canvas);
    const grey = `rgb(${model.mean.map((share) => Math.round(share * 255)).join(" ")})`;
    const { how, patches: gone } = state.edit;
    context.fillStyle = how === "grey" ? grey : style.getPropertyValue("--ground");
    context.strokeStyle = style.getPropertyValue("--soft");
    context.lineWidth = Math.max(1, width / 900);
    context.beginPath();
    for (const patch of gone) {
      const [x, y] = [(patch % columns) * wide, Math.floor(patch / columns) * high];
      context.fillRect(x, y, wide + 0.5, high + 0.5);
      context.moveTo(x + wide * 0.3, y + high * 0.7);
      context.lineTo(x + wide * 0.7, y + high * 0.3);
    }
    if (how === "drop") context.stroke();
    if (state.hover !== null && state.brush > 1) outline(context, state, [wide, high]);
  }

  /**
   * @param {Painter} context
   * @param {State} state
   */
  function outline(context, state, [wide, high]) {
    const { grid } = state.result.model;
    const reached = under(grid, cellOf(state.result.model, state.hover), state.brush);
    /** @param {number} patch */
    const place = (patch) => [Math.floor(patch / grid[1]), patch % grid[1]];
    const [[top, left], [bottom, right]] = [place(reached[0]), place(reached.at(-1))];
    for (const [colour, line] of OUTLINE) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(
        left * wide,
        top * high,
        (right - left + 1) * wide,
        (bottom - top + 1) * high,
      );
    }
  }

  return {
    node: el(
      "div",
      { class: "paint" },
      canvas,
      pinned.node,
      el("p", { class: "note" }, hint("whatif.canvas.help", "whatif.canvas.help.touch")),
    ),
    draw: () => {
      patches.draw();
      pinned.draw(store.get());
    },
    paint,
  };
}

/**
 * The pinned patch by its name, and a button that takes it away or brings it back.
 * @param {Store} store
 */
function createPinned(store) {
  const words = el("span");
  const button = el("button", { type: "button", class: "in-text", onclick: turn });
  const node = el("p", { class: "note whatif-pinned" }, words, " ", button);

  /** @param {State} state */
  const patchOf = ({ pinned, result }) => pinned - result.model.prefix.length;

  function turn() {
    const state = store.get();
    const { patches } = state.edit;
    const patch = patchOf(state);
    const gone = patches.includes(patch);
    change(store, { patches: gone ? patches.filter((one) => one !== patch) : [...patches, patch] });
  }

  /** @param {State} state */
  function draw(state) {
    const { pinned, result, edit } = state;
    node.hidden = !cellOf(result.model, pinned);
    setText(words, t("whatif.pinned", { patch: tokenName(result.model, pinned) }));
    setText(button, t(edit.patches.includes(patchOf(state)) ? "whatif.pinned.back" : "whatif.pinned.take"));
  }
  return { node, draw };
}
