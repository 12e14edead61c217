// The confusion matrix on one canvas, whatever the number of classes; a cell opens its pictures.

import { nameOf } from "../../base/class_names.js";
import { el, fitCanvas, keepSize, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { isDark, tableFor } from "../../maps/colours.js";
import { level } from "../../maps/pixels.js";
import { confusion, measures } from "../../state/data_set.js";

// Of more classes names and counts can't be read in their cells.
const NAMED = 24;
const COUNTED = 16;
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const MARGIN = 92;

/** @param {Context} context */
export function createConfusion({ store }) {
  const canvas = el("canvas", {
    class: "data-matrix",
    tabindex: "0",
    role: "application",
    "aria-label": t("data.matrix.label"),
    "aria-describedby": "vx-data-cell",
    onpointermove: (event) => point(cellUnder(event)),
    onpointerleave: () => point(null),
    onclick: (event) => open(cellUnder(event)),
    onkeydown: press,
  });
  const says = el("p", { id: "vx-data-cell", class: "note data-cell", "aria-live": "polite" });
  const bar = createColourBar(percent);
  const node = el(
    "div",
    { class: "card data-card" },
    el("h3", {}, t("data.matrix"), " ", el("small", {}, t("data.matrix.help"))),
    canvas, bar.node, says,
  );
  let at = null; // the cell under the pointer or the keyboard
  let base = { key: [], image: null, most: 1 };
  const size = keepSize(canvas, () => store.get().dataSet && paint(store.get()));

  const margin = (count) => (count > NAMED ? 0 : Math.min(MARGIN, size.width / 4));

  function cellUnder(event) {
    const { dataSet } = store.get();
    if (!dataSet) return null;
    const count = dataSet.table.classes.length;
    const bounds = canvas.getBoundingClientRect();
    const edge = margin(count);
    const along = (place, whole) => Math.floor(((place - edge) / (whole - edge)) * count);
    const row = along(event.clientY - bounds.top, bounds.height);
    const column = along(event.clientX - bounds.left, bounds.width);
    return row < 0 || column < 0 || row >= count || column >= count ? null : [row, column];
  }

  function point(cell) {
    if (String(cell) === String(at)) return;
    at = cell;
    paint(store.get());
  }

  /** A cell's pictures; a cell that is open already is closed again. */
  function open(cell) {
    if (!cell) return;
    const { dataFilter } = store.get();
    const [label, predicted] = cell;
    const same = dataFilter.label === label && dataFilter.predicted === predicted;
    store.set({ dataFilter: { ...dataFilter, verdict: "all", label: same ? -1 : label, predicted: same ? -1 : predicted } });
  }

  function press(event) {
    const { dataSet, dataFilter } = store.get();
    const count = dataSet.table.classes.length;
    const begin = at ?? [Math.max(0, dataFilter.label), Math.max(0, dataFilter.predicted)];
    if (event.key in ARROWS) {
      const [down, right] = ARROWS[event.key];
      const inside = (place) => Math.min(count - 1, Math.max(0, place));
      point(at ? [inside(begin[0] + down), inside(begin[1] + right)] : begin);
    } else if (event.key === "Enter" || event.key === " ") open(begin);
    else return;
    event.preventDefault();
  }

  /** The cells, painted once: a thousand classes have a million. @param {State} state */
  function baseOf({ dataSet, colormap, theme }, style, pixels) {
    const { table } = dataSet;
    const side = Math.min(table.classes.length, Math.max(1, Math.floor(pixels)));
    const key = [table, colormap, theme, side];
    if (key.every((one, place) => one === base.key[place])) return base;
    const [counts, { pictures }, count] = [confusion(table), measures(table), table.classes.length];
    const most = largestMistake(counts, pictures, count);
    base = { key, most, image: cells(counts, pictures, count, [tableFor(colormap), most], style, side) };
    return base;
  }

  /** @param {State} state */
  function paint(state) {
    if (!size.width) return;
    const { table } = state.dataSet;
    const count = table.classes.length;
    const counts = confusion(table);
    const { pictures } = measures(table);
    const [wide, high] = fitCanvas(canvas, size.width, size.width);
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(node);
    const edge = margin(count) * (wide / size.width);
    const { image, most } = baseOf(state, style, wide - edge);
    const step = (wide - edge) / count;
    brush.clearRect(0, 0, wide, high);
    brush.imageSmoothingEnabled = false;
    brush.drawImage(image, edge, edge, wide - edge, high - edge);
    if (count <= NAMED) names(brush, table.classes, edge, step, style);
    if (count <= COUNTED) numbers(brush, { counts, pictures, count, edge, step, most, style, state });
    const { label, predicted } = state.dataFilter;
    if (label >= 0 && predicted >= 0) outline(brush, [label, predicted], edge, step, style.getPropertyValue("--accent"));
    if (at) outline(brush, at, edge, step, style.getPropertyValue("--ink"));
    const shown = at ?? (label >= 0 && predicted >= 0 ? [label, predicted] : null);
    setText(says, shown ? cellText(table, counts, pictures, shown) : t("data.matrix.point"));
    bar.show(tableFor(state.colormap), [0, most]);
  }
  return { node, draw: paint };
}

/** The largest share of a class that was taken for one other: where the colours end. */
function largestMistake(counts, pictures, count) {
  let most = 0;
  for (let place = 0; place < counts.length; place += 1) {
    const row = Math.floor(place / count);
    if (place % count !== row && counts[place]) most = Math.max(most, counts[place] / pictures[row]);
  }
  return most || 1;
}

/**
 * A pixel a cell: mistakes in the colours of their share, what is right in grey, the rest bare. Where
 * several cells share a pixel, the largest mistake among them is seen.
 */
function cells(counts, pictures, count, [table, most], style, side) {
  const largest = new Float32Array(side * side);
  for (let place = 0; place < counts.length; place += 1) {
    const [row, column] = [Math.floor(place / count), place % count];
    if (!counts[place] || row === column) continue;
    const pixel = Math.floor((row * side) / count) * side + Math.floor((column * side) / count);
    largest[pixel] = Math.max(largest[pixel], counts[place] / pictures[row]);
  }
  const [grey, bare] = ["--line", "--faint"].map((name) => rgb(style.getPropertyValue(name)));
  const image = new ImageData(side, side);
  for (let pixel = 0; pixel < largest.length; pixel += 1) {
    const at = 3 * level(largest[pixel], [0, most]);
    const empty = pixel % side === Math.floor(pixel / side) ? grey : bare;
    image.data.set(largest[pixel] ? table.subarray(at, at + 3) : empty, 4 * pixel);
    image.data[4 * pixel + 3] = 255;
  }
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function numbers(brush, { counts, pictures, count, edge, step, most, style, state }) {
  const table = tableFor(state.colormap);
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  for (let place = 0; place < counts.length; place += 1) {
    if (!counts[place]) continue;
    const [row, column] = [Math.floor(place / count), place % count];
    const at = 3 * level(counts[place] / pictures[row], [0, most]);
    const ink = isDark(table.subarray(at, at + 3)) ? "#fff" : "#000";
    brush.fillStyle = row === column ? style.getPropertyValue("--ink") : ink;
    fitted(brush, String(counts[place]), step * 0.85, Math.min(step * 0.42, fontSize(style)), style);
    brush.fillText(String(counts[place]), edge + (column + 0.5) * step, edge + (row + 0.5) * step);
  }
}

function names(brush, classes, edge, step, style) {
  brush.fillStyle = style.getPropertyValue("--soft");
  brush.textBaseline = "middle";
  const gap = step * 0.15;
  for (const [index, label] of classes.entries()) {
    const name = nameOf(label);
    const middle = edge + (index + 0.5) * step;
    fitted(brush, name, edge - 2 * gap, Math.min(step * 0.7, fontSize(style)), style);
    brush.textAlign = "right";
    brush.fillText(name, edge - gap, middle);
    brush.save();
    brush.translate(middle, edge - gap);
    brush.rotate(-Math.PI / 2);
    brush.textAlign = "left";
    brush.fillText(name, 0, 0);
    brush.restore();
  }
}

/** The page's font at a size at which a text fits a width. */
function fitted(brush, text, width, most, style) {
  brush.font = `${most}px ${style.fontFamily}`;
  const wide = brush.measureText(text).width;
  if (wide > width) brush.font = `${(most * width) / wide}px ${style.fontFamily}`;
}

/** Text of a note's size, in the canvas's own pixels. */
const fontSize = (style) => parseFloat(style.fontSize) * 0.9 * Math.min(window.devicePixelRatio || 1, 2);

function outline(brush, [row, column], edge, step, colour) {
  brush.strokeStyle = colour;
  brush.lineWidth = Math.max(2, step * 0.06);
  const least = Math.max(step, 6);
  brush.strokeRect(edge + column * step, edge + row * step, least, least);
}

function cellText({ classes }, counts, pictures, [row, column]) {
  const found = counts[row * classes.length + column];
  const values = {
    label: nameOf(classes[row]),
    predicted: nameOf(classes[column]),
    count: found,
    of: pictures[row],
    share: percent(found / Math.max(1, pictures[row])),
  };
  return t(row === column ? "data.matrix.right" : "data.matrix.cell", values);
}

/** @param {string} colour as #rrggbb */
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.trim().slice(at, at + 2), 16));
