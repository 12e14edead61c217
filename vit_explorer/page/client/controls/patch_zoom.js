// One patch enlarged: its pixels, and the numbers of the one that is pointed at.

import { el, fitCanvas, setText } from "../base/dom.js";
import { sentences, t } from "../base/words.js";
import { cellOf, middleToken } from "../maps/geometry.js";
import { numbersOf } from "../server/packed.js";
import { createRest } from "../state/pointer_rest.js";
import { queryToken } from "../state/store.js";
import { pixelKind } from "./channels.js";
import { exact } from "./number_tables.js";

// Black under white is seen on any colour.
/** @type {Stroke[]} */
const OUTLINE = [
  ["#000", 3],
  ["#fff", 1.5],
];
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
// Numbers are written into pixels that are at least so large.
const WRITTEN = 34;

/**
 * The patch shown: a prefix token has no pixels, so the middle patch stands in.
 * @param {State} state
 */
export function zoomedToken(state, query = queryToken(state)) {
  const { model } = state.result;
  return cellOf(model, query) ? query : middleToken(model);
}

/** @param {Context} context */
export function createPatchZoom({ store }) {
  const canvas = el("canvas", {
    class: "zoom",
    tabindex: "0",
    role: "application",
    onpointermove: point,
    onpointerdown: point,
    onkeydown: press,
  });
  const title = el("h3");
  const text = el("p", { class: "caption" });
  const value = el("p", { class: "pixel-value", "aria-live": "polite" });
  const node = el("div", { class: "card zoom-card" }, canvas, el("div", {}, title, text, value));
  new ResizeObserver(() => store.get().result && draw(store.get())).observe(canvas);

  const rests = createRest();

  /** @param {Result} result */
  const sizes = ({ model: { patch } }) => patch;

  function point(event) {
    const { result } = store.get();
    if (!result) return;
    const bounds = canvas.getBoundingClientRect();
    const [high, wide] = sizes(result);
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * high);
    const column = Math.floor(((event.clientX - bounds.left) / bounds.width) * wide);
    if (row >= 0 && column >= 0 && row < high && column < wide) store.set({ pixel: row * wide + column });
  }

  function press(event) {
    if (!(event.key in ARROWS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { result, pixel } = store.get();
    const [high, wide] = sizes(result);
    const [row, column] = pixelAt(result, pixel);
    const [down, right] = ARROWS[event.key];
    const next = [Math.min(high - 1, Math.max(0, row + down)), Math.min(wide - 1, Math.max(0, column + right))];
    store.set({ pixel: next[0] * wide + next[1] });
  }

  /**
   * Row and column of the pixel that is pointed at, within this model's patch.
   * @param {Result} result
   */
  function pixelAt(result, pixel) {
    const [high, wide] = sizes(result);
    const at = Math.min(pixel, high * wide - 1);
    return [Math.floor(at / wide), at % wide];
  }

  /** @param {State} state */
  function draw(state) {
    const { model } = state.result;
    const token = zoomedToken(state);
    const [row, column] = cellOf(model, token);
    const number = token - model.prefix.length + 1;
    setText(title, t("zoom.one", { number }));
    setText(text, t("zoom.where", facts(model, token, row, column)));
    canvas.setAttribute("aria-label", t("zoom.keys", { number }));
    canvas.style.aspectRatio = String(model.patch[1] / model.patch[0]);
    if (!canvas.clientWidth) return;
    const [width, height] = fitCanvas(canvas, canvas.clientWidth, canvas.clientHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const [across, down] = [
      state.seen.naturalWidth / model.grid[1],
      state.seen.naturalHeight / model.grid[0],
    ];
    context.imageSmoothingEnabled = false;
    context.drawImage(state.seen, column * across, row * down, across, down, 0, 0, width, height);
    const [y, x] = pixelAt(state.result, state.pixel);
    const [wide, high] = [width / model.patch[1], height / model.patch[0]];
    const centre = (cell, size) => Math.floor((cell + 0.5) * size);
    const colourOf = (cellX, cellY) =>
      context.getImageData(centre(cellX, wide), centre(cellY, high), 1, 1).data.slice(0, 3);
    const colour = [...colourOf(x, y)];
    if (wide / (width / canvas.clientWidth) >= WRITTEN) write(context, model, [wide, high], colourOf);
    mark(context, x * wide, y * high, wide, high);
    setText(value, sayValue(state, token, [y, x], colour));
  }

  /**
   * The pixel's colour, and the very numbers the model is given once they are here.
   * @param {State} state
   * @param {number} token
   */
  function sayValue(state, token, [y, x], colour) {
    const { model } = state.result;
    const shown = model.channels === 1 ? colour.slice(0, 1) : colour;
    const at = { row: y + 1, column: x + 1, colour: shown.join(", ") };
    const path = `patches/${token - model.prefix.length}`;
    const wanted = token === zoomedToken(state, state.pinned) || rests(token);
    const found = wanted ? numbersOf(state.result, path) : null;
    if (!found?.arrays)
      return sentences(t(`zoom.pixel.${pixelKind(model)}`, { channels: model.channels, ...at, given: "…" }), found?.failed && t("tables.failed"));
    const size = model.patch[0] * model.patch[1];
    const given = Array.from({ length: model.channels }, (_, channel) =>
      exact(found.arrays.pixels[channel * size + y * model.patch[1] + x]),
    );
    return t(`zoom.pixel.${pixelKind(model)}`, { channels: model.channels, ...at, given: given.join(", ") });
  }
  return { node, draw };
}

/**
 * @param {Model} model
 * @param {number} token
 */
function facts(model, token, row, column) {
  return {
    row: row + 1,
    column: column + 1,
    channels: model.channels,
    count: model.channels * model.patch[0] * model.patch[1],
    dim: model.dim,
    token,
  };
}

/**
 * Red, green and blue as numbers on each pixel, in the ink that can be read on it.
 * @param {Painter} context
 * @param {Model} model
 */
function write(context, { channels, patch: [rows, columns] }, [wide, high], colourOf) {
  const inks = Array.from({ length: rows * columns }, (_, at) =>
    colourOf(at % columns, Math.floor(at / columns)),
  );
  context.font = `${Math.floor(Math.min(wide / 3, high / 4))}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  inks.forEach(([red, green, blue], at) => {
    context.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 140 ? "black" : "white";
    const [x, y] = [(at % columns) * wide, Math.floor(at / columns) * high];
    const values = channels === 1 ? [red] : [red, green, blue];
    values.forEach((value, line) =>
      context.fillText(String(value), x + wide / 2, y + (high * (line + 1)) / (values.length + 1)),
    );
  });
}

/** @param {Painter} context */
function mark(context, x, y, wide, high) {
  for (const [colour, line] of OUTLINE) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x + 1, y + 1, wide - 2, high - 2);
  }
}
