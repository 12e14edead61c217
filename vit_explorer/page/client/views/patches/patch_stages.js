// From picture to tokens: each stage with its shape and a small drawing, and the chosen one large.

import { el, replace } from "../../base/dom.js";
import { list, sentences, t } from "../../base/words.js";
import { leftOver, ownValues, pictureNote, pixelKind } from "../../controls/channels.js";
import { whereTo } from "../../controls/token_tables.js";
import { tableFor } from "../../maps/colours.js";
import { prefixName } from "../../maps/geometry.js";
import { cropIn } from "../../maps/picture.js";
import { level } from "../../maps/pixels.js";

const by = (...sizes) => sizes.join(" × ");

/**
 * The stages a model has, in order, as { name, shape }.
 * @param {Result} result
 */
export function stagesOf({ model, picture, positions }) {
  const count = model.grid[0] * model.grid[1];
  const flat = model.channels * model.patch[0] * model.patch[1];
  const all = count + model.prefix.length;
  return [
    { name: "picture", shape: by(picture.height, picture.width, picture.bands?.count ?? 3) },
    { name: "crop", shape: by(...model.image, model.channels) },
    { name: "cut", shape: by(count, flat) },
    { name: "projection", shape: by(count, model.dim) },
    ...(model.prefix.length ? [{ name: "prefix", shape: by(all, model.dim) }] : []),
    ...(positions.url || positions.large ? [{ name: "positions", shape: by(all, model.dim) }] : []),
  ];
}

/**
 * What a stage does, in words; `facts` are those of the walk, once they are here.
 * @param {any} name
 * @param {Result} result
 */
export function stageText(name, { model, picture, box_known: known }, facts) {
  const flat = model.channels * model.patch[0] * model.patch[1];
  const values = {
    width: name === "picture" ? picture.width : model.image[1],
    height: name === "picture" ? picture.height : model.image[0],
    count: model.grid[0] * model.grid[1],
    channels: model.channels,
    from: flat,
    to: model.dim,
    names: list(model.prefix.map(prefixName)),
    mean: model.mean.map((value) => value.toFixed(3)).join(", "),
    std: model.std.map((value) => value.toFixed(3)).join(", "),
  };
  if (name === "picture") {
    const text = t(known ? "patches.stage.picture.text" : "patches.stage.picture.all", values);
    return sentences(text, pictureNote(picture));
  }
  if (name === "crop" || name === "cut") {
    const kind = name === "crop" && ownValues(model) ? "own" : pixelKind(model);
    return sentences(t(`patches.stage.${name}.text.${kind}`, values), leftOver(model));
  }
  const then = name === "positions" && facts ? whereTo(facts) : "";
  return sentences(t(`patches.stage.${name}.text`, values), then);
}

/**
 * Draw a stage as small as it is, a pixel a number; null while its numbers are not here.
 * @param {State} state
 */
export function stageImage(name, state, walk) {
  const { result } = state;
  if (name === "cut") return cutImage(state);
  if (!walk?.arrays) return null;
  const { dim, prefix } = result.model;
  const whole = new OffscreenCanvas(dim, result.model.tokens);
  const context = whole.getContext("2d");
  const { limits, arrays } = { limits: walk.facts.limits, arrays: walk.arrays };
  const read = (matrix) => (at) => arrays[`${matrix} matrix`][at];
  const token = read("tokens");
  if (name === "positions") return put(context, dim, 0, result.model.tokens, token, limits.tokens);
  if (!arrays["patches matrix"]) return null;
  const patch = read("patches");
  const place = arrays["positions matrix"] ? read("positions") : () => 0;
  const first = prefix.length * dim;
  const value = (at) => (at < first ? token(at) - place(at) : patch(at));
  const start = name === "prefix" ? 0 : prefix.length;
  return put(context, dim, start, result.model.tokens, value, limits.patches);
}

/** @param {Painter} context */
function put(context, dim, start, end, value, size) {
  const table = tableFor(null, true);
  const image = new ImageData(dim, end - start);
  for (let at = 0; at < dim * (end - start); at += 1) {
    const colour = level(value(start * dim + at), [-size, size]) * 3;
    image.data.set([table[colour], table[colour + 1], table[colour + 2], 255], at * 4);
  }
  context.canvas.height = end - start;
  context.putImageData(image, 0, 0);
  return context.canvas;
}

/**
 * Patches as rows: red values, then green, then blue, each patch's pixels row by row; grey ones once,
 * and of more bands those that are shown.
 * @param {State} state
 */
function cutImage({ result: { model }, seen }) {
  const [rows, columns] = model.grid;
  const [wide, high] = [seen.naturalWidth, seen.naturalHeight];
  const source = new OffscreenCanvas(wide, high);
  const reader = source.getContext("2d", { willReadFrequently: true });
  reader.drawImage(seen, 0, 0);
  const { data } = reader.getImageData(0, 0, wide, high);
  const [down, across] = [Math.round(high / rows), Math.round(wide / columns)];
  const size = down * across;
  const grey = model.channels < 3;
  const line = (grey ? 1 : 3) * size;
  const image = new ImageData(line, rows * columns);
  for (let patch = 0; patch < rows * columns; patch += 1) {
    const [top, left] = [Math.floor(patch / columns) * down, (patch % columns) * across];
    for (let at = 0; at < line; at += 1) {
      const channel = Math.floor(at / size);
      const pixel = at % size;
      const from = ((top + Math.floor(pixel / across)) * wide + left + (pixel % across)) * 4;
      const to = (patch * line + at) * 4;
      for (const one of grey ? [0, 1, 2] : [channel]) image.data[to + one] = data[from + one];
      image.data[to + 3] = 255;
    }
  }
  const whole = new OffscreenCanvas(image.width, image.height);
  whole.getContext("2d").putImageData(image, 0, 0);
  return whole;
}

/**
 * The whole picture, the crop bright in it; or the crop alone.
 * @param {HTMLCanvasElement} canvas
 * @param {State} state
 * @param {number} width
 */
export function paintPicture(canvas, state, name, width) {
  const { result } = state;
  const whole = name === "picture";
  const [wide, high] = whole
    ? [result.picture.width, result.picture.height]
    : [state.seen.naturalWidth, state.seen.naturalHeight];
  canvas.width = width;
  canvas.height = Math.max(1, Math.round((width * high) / wide));
  const context = canvas.getContext("2d");
  if (!whole) {
    context.imageSmoothingEnabled = state.seen.naturalWidth > width;
    context.drawImage(state.seen, 0, 0, canvas.width, canvas.height);
    return;
  }
  state.image.draw(context, canvas.width, canvas.height, true);
  if (!result.box_known) return;
  const [left, top, right, bottom] = cropIn(result, canvas.width, canvas.height);
  context.fillStyle = "rgb(0 0 0 / 0.55)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left, top, right - left, bottom - top);
  context.fill("evenodd");
}

/**
 * The stages as a row of buttons, each with its drawing, name and shape.
 * @param {Store} store
 */
export function createPipeline(store) {
  const node = el("ol", { class: "pipeline", "aria-label": t("patches.steps") });
  let buttons = [];

  /** @param {Result} result */
  function rebuild(result) {
    buttons = stagesOf(result).map(({ name, shape }) => {
      const canvas = el("canvas", { "aria-hidden": "true" });
      const button = el(
        "button",
        { type: "button", dataset: { stage: name }, onclick: () => store.set({ stage: name }) },
        el("span", { class: "stage-thumb" }, canvas),
        el("strong", {}, t(`patches.stage.${name}`)),
        el("code", {}, shape),
      );
      return { name, button, canvas };
    });
    replace(
      node,
      buttons.map(({ button }) => el("li", {}, button)),
    );
  }

  /** @param {State} state */
  function paint(state, walk) {
    for (const { name, canvas } of buttons) {
      if (name === "picture" || name === "crop") paintPicture(canvas, state, name, 160);
      else drawImage(canvas, stageImage(name, state, walk));
    }
  }

  function mark(stage) {
    for (const { name, button } of buttons)
      button.setAttribute("aria-pressed", String(name === stage));
  }
  return { node, rebuild, paint, mark };
}

/** @param {HTMLCanvasElement} canvas */
export function drawImage(canvas, image) {
  if (!image) return;
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
}

/**
 * A stage's numbers at full size, with the chosen token's row marked; a click chooses another.
 * @param {Store} store
 */
export function createMatrix(store) {
  const canvas = el("canvas", { class: "stage-matrix pixelated", role: "img", onclick: pick });
  const mark = el("span", { class: "stage-row", "aria-hidden": "true" });
  const node = el("div", { class: "stage-box" }, canvas, mark);
  let first = 0;

  function pick(event) {
    const bounds = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - bounds.top) / bounds.height) * canvas.height);
    store.set({ pinned: first + Math.min(canvas.height - 1, Math.max(0, row)), hover: null });
  }

  function show(name, image, label) {
    first = name === "prefix" || name === "positions" ? 0 : store.get().result.model.prefix.length;
    drawImage(canvas, image);
    canvas.setAttribute("aria-label", label);
  }

  /** @param {number} token */
  function point(token) {
    const row = token - first;
    mark.hidden = row < 0;
    mark.style.top = `${(100 * row) / canvas.height}%`;
    mark.style.height = `${100 / canvas.height}%`;
  }
  return { node, show, point };
}
