// A canvas over the patch grid: the pointer and the arrow keys choose a patch, which all views share.

import { el, fitCanvas } from "../base/dom.js";
import { cellOf, startToken, step, tokenAt } from "../maps/geometry.js";

// Black under white is seen on any colour.
/** @type {Stroke[]} */
export const OUTLINE = [
  ["#000", 4],
  ["#fff", 2],
];
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * `paint(context, width, height, state)` draws what lies under the marker;
 * `region(state, width, height)` says where the grid lies in it (default: everywhere). `marker` is
 * the store's key of the marked token, and `shown(state, token)` where a token is drawn that has no
 * place in the grid. A finger chooses by a tap, so that a swipe scrolls the page, unless `taps` is
 * off: then it chooses at once.
 */
export function createPatchCanvas({
  store,
  label,
  paint,
  region = null,
  keyboard = true,
  marker = "pinned",
  shown = (state, token) => token,
  taps = true,
}) {
  let touched = false;
  const canvas = el("canvas", {
    class: "patch-canvas",
    tabindex: keyboard ? "0" : null,
    role: keyboard ? "application" : "img",
    "aria-label": label,
    onpointermove: point,
    onpointerleave: () => store.set({ hover: null }),
    onpointerdown: begin,
    onclick: (event) => touched && pin(event),
    onkeydown: press,
  });
  new ResizeObserver(draw).observe(canvas);

  /**
   * @param {number} width
   * @param {number} height
   */
  function gridRegion(width, height) {
    return region ? region(store.get(), width, height) : [0, 0, width, height];
  }

  function tokenUnder(event) {
    const { result } = store.get();
    if (!result) return null;
    const bounds = canvas.getBoundingClientRect();
    const [left, top, right, bottom] = gridRegion(bounds.width, bounds.height);
    const [rows, columns] = result.model.grid;
    const row = Math.floor(((event.clientY - bounds.top - top) / (bottom - top)) * rows);
    const column = Math.floor(((event.clientX - bounds.left - left) / (right - left)) * columns);
    if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
    return tokenAt(result.model, row, column);
  }

  function point(event) {
    store.set({ hover: tokenUnder(event) });
  }

  function begin(event) {
    touched = taps && event.pointerType === "touch";
    if (!touched) pin(event);
  }

  function pin(event) {
    const token = tokenUnder(event);
    if (token !== null)
      store.set({ [marker]: token, hover: event.pointerType === "mouse" ? token : null });
  }

  function press(event) {
    const { result, layer, [marker]: marked } = store.get();
    if (!result || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      const [down, right] = ARROWS[event.key];
      const from = marked ?? startToken(result.model);
      store.set({ [marker]: step(result.model, from, down, right), hover: null });
    } else if (event.key === "Escape" || event.key === "Home") {
      store.set({ [marker]: startToken(result.model), hover: null });
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      const next = layer + (event.key === "PageUp" ? -1 : 1);
      store.set({ layer: Math.min(result.model.depth - 1, Math.max(0, next)) });
    } else {
      return;
    }
    event.preventDefault();
  }

  /**
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   * @param {number} token
   */
  function mark(context, width, height, token, ratio, dashed) {
    const { model } = store.get().result;
    markCell(context, gridRegion(width, height), model, token, ratio, dashed);
  }

  function draw() {
    const state = store.get();
    if (!state.result || !canvas.clientWidth) return;
    const [width, height] = fitCanvas(canvas, canvas.clientWidth, canvas.clientHeight);
    const ratio = width / canvas.clientWidth;
    const context = canvas.getContext("2d");
    paint(context, width, height, state);
    const pinned = state[marker] ?? startToken(state.result.model);
    if (state.hover !== null && state.hover !== pinned) {
      mark(context, width, height, pinned, ratio, true);
    }
    mark(context, width, height, shown(state, state.hover ?? pinned), ratio, false);
  }

  return { canvas, draw };
}

/**
 * Outline a token's patch in a drawing of the grid, in black and white to be seen on any colour.
 * @param {Painter} context
 * @param {Box} box
 * @param {Model} model
 * @param {number} token
 */
export function markCell(context, [left, top, right, bottom], model, token, ratio, dashed = false) {
  const cell = cellOf(model, token);
  if (!cell) return;
  const [rows, columns] = model.grid;
  const [high, wide] = [(bottom - top) / rows, (right - left) / columns];
  const [x, y] = [left + cell[1] * wide, top + cell[0] * high];
  for (const [colour, line] of OUTLINE) {
    context.strokeStyle = colour;
    context.lineWidth = line * ratio;
    context.setLineDash(dashed && colour === "#fff" ? [3 * ratio, 3 * ratio] : []);
    context.strokeRect(x, y, wide, high);
  }
  context.setLineDash([]);
}
