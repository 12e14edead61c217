// What the steps of the walk are drawn with: tables of numbers, strips of colour, and choosers.

import { el, replace, setText } from "../base/dom.js";
import { fixed } from "../base/format.js";
import { t } from "../base/words.js";
import { tableFor } from "../maps/colours.js";
import { cellOf, middleToken, tokenName } from "../maps/geometry.js";
import { thumbnail } from "../maps/pixels.js";
import { drawnChannels } from "./channels.js";
import { createFigureMenu } from "./figure_menu.js";

/** @type {Head[]} */
const TOGETHER = ["mean", "max"];

/** A number with its sign, as wide as others of its column. */
export const exact = (value) => fixed(value, 3);

/**
 * The patch a step speaks of: a prefix token has no pixels, so the middle patch stands in.
 * @param {Model} model
 * @param {number} token
 */
export function patchOf(model, token) {
  return cellOf(model, token) ? token : middleToken(model);
}

/**
 * A token's name where the sentence begins with it.
 * @param {Model} model
 * @param {number} token
 */
export function beginning(model, token) {
  const name = tokenName(model, token);
  return name[0].toUpperCase() + name.slice(1);
}

/** A cell shows a text or a node and carries the numbers behind it, a column of the file each. */
export const number = (value, format = exact) => ({ shown: format(value), values: [value] });
export const BLANK = { shown: "", values: [] };

/** The first numbers of a vector, a cell each, and that there are more. */
export const firstOf = (values, count = values.length) => [
  ...Array.from(values.slice(0, count), (value) => number(value)),
  { shown: "…", values: [] },
];

/**
 * Rows of numbers under one another, to be saved as `file`. A row is { name, cells, kind }; a column
 * is its heading, or { shown, name } where the file calls it otherwise.
 * @param {Context} context
 */
export function createNumbers(context, file, label) {
  const head = el("thead");
  const body = el("tbody");
  const table = el("table", { class: "numbers" }, head, body);
  const menu = createFigureMenu(context, file, { title: () => label, table: () => fileOf(...drawn) });
  const box = el(
    "div",
    { class: "numbers-box", tabindex: "0", role: "region", "aria-label": label },
    table,
  );
  const node = el("div", { class: "numbers-part" }, box, menu);
  let drawn = [[], []];

  function show(columns, rows) {
    drawn = [columns, rows];
    const names = columns.map((column) => el("th", { scope: "col" }, column.shown ?? column));
    replace(head, columns.length ? el("tr", {}, names) : null);
    replace(
      body,
      rows.map(({ name, cells, kind = "" }) =>
        el(
          "tr",
          { class: kind },
          el("th", { scope: "row" }, name),
          cells.map(({ shown }) => el("td", {}, shown)),
        ),
      ),
    );
  }
  return { node, show };
}

/** The numbers as they are, not as they are shown; columns that have no name get their place. */
function fileOf(columns, rows) {
  const nameOf = (at) => columns[at]?.name ?? columns[at];
  const places = Array.from({ length: Math.max(...rows.map(({ cells }) => cells.length)) }, (_, at) => at);
  const widths = places.map((at) => Math.max(...rows.map(({ cells }) => cells[at]?.values.length ?? 0)));
  const names = widths.flatMap((width, at) =>
    Array.from({ length: width }, (_, part) =>
      [nameOf(at + 1) || at + 1, ...(width > 1 ? [part + 1] : [])].join(" "),
    ),
  );
  const lines = rows.map(({ name, cells }) => [
    name,
    ...widths.flatMap((width, at) => {
      const values = cells[at]?.values ?? [];
      return [...values, ...Array(width - values.length).fill("")];
    }),
  ]);
  return [[nameOf(0) || "name", ...names], ...lines];
}

/** A vector as one line of colours, a cell a number; signed ones around zero. */
export function createStrip(label) {
  const name = el("span", { class: "strip-name" });
  const canvas = el("canvas", { class: "strip pixelated", role: "img", height: "1" });
  const ends = el("span", { class: "strip-ends" });
  const node = el("div", { class: "strip-line" }, name, canvas, ends);
  setText(name, label);

  function show(values, limits, { colormap = null, format = exact, text = label } = {}) {
    canvas.width = values.length;
    const table = tableFor(colormap, colormap === null);
    const image = thumbnail(values, [1, values.length], table, limits);
    canvas.getContext("2d").putImageData(image, 0, 0);
    const said = limits.map(format).join(" … ");
    setText(ends, said);
    canvas.setAttribute("aria-label", `${text}: ${said}`);
  }
  return { node, show, name };
}

/**
 * Which layer and head a step shows: those of the Attention view, so that both speak of one. A step
 * shows one head; `together` offers the heads' mean and maximum as well.
 * @param {Store} store
 */
export function createChooser(store, { heads = true, together = false } = {}) {
  const value = el("output", {});
  const slider = el("input", {
    type: "range",
    min: "1",
    "aria-label": t("heads.layer"),
    oninput: () => store.set({ layer: Number(slider.value) - 1 }),
  });
  const head = el("select", {
    "aria-label": t("heads.head"),
    onchange: () =>
      store.set({ head: TOGETHER.find((name) => name === head.value) ?? Number(head.value) }),
  });
  const node = el(
    "div",
    { class: "chooser" },
    el("label", { class: "tool" }, t("heads.layer"), slider, value),
    heads ? el("label", { class: "tool" }, t("heads.head"), head) : null,
  );
  let count = 0;

  /**
   * `twin`: the state of a second result that the choice is for, too.
   * @param {State} state
   * @param {State | null} twin
   */
  function show(state, twin = null) {
    const { model } = state.result;
    slider.max = String(model.depth);
    slider.value = String(state.layer + 1);
    const both = [state, twin].filter((one) => one?.result);
    const places = both.map((one) => `${one.layer + 1}/${one.result.model.depth}`);
    setText(value, [...new Set(places)].join(" · "));
    slider.setAttribute("aria-valuetext", value.textContent);
    if (count !== model.heads) {
      const numbers = Array.from({ length: model.heads }, (_, index) => index);
      replace(
        head,
        (together ? TOGETHER : []).map((name) => el("option", { value: name }, t(`heads.${name}`))),
        numbers.map((index) => el("option", { value: index }, String(index + 1))),
      );
    }
    count = model.heads;
    head.value = String(together ? state.head : oneHead(state));
  }
  return { node, show };
}

/**
 * A step looks at one head: the first where the Attention view shows several together.
 * @param {Pick<State, "head">} state
 */
export const oneHead = ({ head }) => (typeof head === "number" ? head : 0);

/**
 * A patch's own pixels, enlarged by the browser.
 * @param {HTMLCanvasElement} canvas
 * @param {State} state
 * @param {number} token
 */
export function drawPatch(canvas, state, token) {
  const { model } = state.result;
  const [row, column] = cellOf(model, token);
  const wide = state.seen.naturalWidth / model.grid[1];
  const high = state.seen.naturalHeight / model.grid[0];
  [canvas.width, canvas.height] = [Math.round(wide), Math.round(high)];
  canvas
    .getContext("2d")
    .drawImage(state.seen, column * wide, row * high, wide, high, 0, 0, canvas.width, canvas.height);
}

/**
 * Numbers of a patch or filter (C, h, w) as a picture, the largest size being full colour.
 * @param {HTMLCanvasElement} canvas
 */
export function drawColours(canvas, values, [channels, high, wide]) {
  const size = high * wide;
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  [canvas.width, canvas.height] = [wide, high];
  const image = new ImageData(wide, high);
  for (let at = 0; at < size; at += 1) {
    drawnChannels(channels).forEach((from, to) => {
      image.data[at * 4 + to] = 127.5 * (1 + values[from * size + at] / largest);
    });
    image.data[at * 4 + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Why a step's numbers are not there. */
export function waiting(numbers) {
  return t(numbers?.failed ? "tables.failed" : "tables.waiting");
}
