// What each head, MLP and bias adds to the logit by itself, as a matrix with signs that opens a head's map.

import { el, replace, setText } from "../../base/dom.js";
import { fixed, short } from "../../base/format.js";
import { targetName } from "../../base/outputs.js";
import { list, said, t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { stepInGrid } from "../../controls/grid_keys.js";
import { isDark, tableFor } from "../../maps/colours.js";
import { partsOf } from "../../server/depth_data.js";

const NAMED = 3; // of the largest on each side

/** @param {Context} context */
export function createParts(context) {
  const { store } = context;
  const title = el("span");
  const rows = el("div", { class: "parts-matrix", role: "group", onkeydown: (event) => stepInGrid(event, heads, columns) });
  const bar = createColourBar(signed);
  const rest = el("p", { class: "note" });
  const says = el("p", { class: "says", "aria-live": "polite" });
  const refusal = el("p", { class: "caption", hidden: true });
  const menu = createFigureMenu(context, "contributions", {
    title: () => t("layers.parts"),
    targeted: () => true,
    detail: (state) => sumOf(partsOf(state.result).value),
    figure: (state) => {
      const found = partsOf(state.result).value;
      const limits = limitsOf(found);
      return {
        paint: (brush, width, height) => paint(brush, width, height, found),
        aspect: found.cells[0].length / found.cells.length,
        bar: { table: tableFor("", true), limits, format: signed },
      };
    },
    tabled: (state) => !partsOf(state.result).value?.error,
    table: (state) => tableOf(partsOf(state.result).value),
    code: (state) => (partsOf(state.result).value?.error ? null : { figure: "contributions" }),
  });
  const body = el("div", { class: "parts-body" }, rows, el("div", {}, bar.node, says, rest));
  const node = el(
    "section",
    { class: "card depth-card", dataset: { part: "contributions" } },
    el("h3", {}, title, menu),
    el("p", { class: "note" }, t("layers.parts.help")),
    refusal,
    body,
  );
  /** @type {{ button: HTMLButtonElement }[]} */
  let heads = [];
  let columns = 0;
  let built = null;

  /**
   * @param {CanvasRenderingContext2D} brush
   * @param {number} width
   * @param {number} height
   */
  function paint(brush, width, height, { cells }) {
    const [wide, high] = [width / cells[0].length, height / cells.length];
    const ink = inkOf(cells);
    for (const [row, values] of cells.entries())
      for (const [column, value] of values.entries()) {
        brush.fillStyle = ink(value).colour;
        brush.fillRect(column * wide, row * high, Math.ceil(wide), Math.ceil(high));
      }
  }

  /**
   * @param {{ cells: number[][] }} found
   * @param {number} count how many of a row are heads
   */
  function build({ cells }, count) {
    const ink = inkOf(cells);
    rows.style.setProperty("--columns", String(cells[0].length));
    heads = [];
    columns = count;
    const titles = [...Array.from({ length: count }, (_, head) => String(head + 1)), t("layers.parts.mlp"), t("layers.parts.bias")];
    const top = [el("span", { class: "note" }, t("layers.parts.corner")), ...titles.map((text) => el("span", { class: "parts-title" }, text))];
    const lines = cells.flatMap((values, layer) => [
      el("span", { class: "parts-title" }, String(layer + 1)),
      ...values.map((value, column) => {
        const { colour, dark } = ink(value);
        const words = nameOf({ layer, column, value }, count);
        const look = { class: dark ? "parts-cell dark" : "parts-cell", title: words };
        const cell = column < count
          ? el("button", { ...look, type: "button", tabindex: "-1", "aria-label": words, onclick: () => open(layer, column) }, fixed(value, 2))
          : el("span", { ...look, role: "img", "aria-label": words }, fixed(value, 2));
        cell.style.setProperty("--colour", colour);
        if (column < count) heads.push({ button: /** @type {HTMLButtonElement} */ (cell) });
        return cell;
      }),
    ]);
    if (heads.length) heads[0].button.tabIndex = 0;
    replace(rows, ...top, ...lines);
  }

  /** What that head looks at. */
  const open = (layer, head) => store.set({ layer, head, tab: "attention" });

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    const found = partsOf(result).value;
    if (!found) return;
    refusal.hidden = !found.error;
    body.hidden = Boolean(found.error);
    menu.hidden = Boolean(found.error);
    setText(title, t("layers.parts.title", { label: targetName(result.target) }));
    setText(refusal, found.error ? said(found.error) : "");
    if (found.error || built === found) return;
    built = found;
    build(found, result.model.heads);
    bar.show(tableFor("", true), limitsOf(found));
    setText(rest, sumOf(found));
    const all = found.cells.flatMap((values, layer) => values.map((value, column) => ({ layer, column, value })));
    const ranked = all.toSorted((one, other) => other.value - one.value);
    const told = (some) => list(some.map((one) => nameOf(one, result.model.heads)));
    const [most, least] = [ranked.slice(0, NAMED).filter(({ value }) => value > 0), ranked.slice(-NAMED).reverse().filter(({ value }) => value < 0)];
    const parts = [most.length ? t("layers.parts.for", { parts: told(most) }) : "", least.length ? t("layers.parts.against", { parts: told(least) }) : ""];
    setText(says, parts.filter(Boolean).join(" "));
  }
  return { node, draw };
}

/** A part by its place, and what it adds. */
function nameOf({ layer, column, value }, heads) {
  const values = { layer: layer + 1, head: column + 1, value: signed(value) };
  if (column < heads) return t("layers.parts.head", values);
  return t(column === heads ? "layers.parts.mlp.one" : "layers.parts.bias.one", values);
}

const signed = (value) => (value > 0 ? `+${short(value)}` : short(value));

/** @returns {Pair} */
function limitsOf({ cells }) {
  const most = Math.max(...cells.flat().map(Math.abs)) || 1;
  return [-most, most];
}

/** The colour of a value, and whether black would be hard to read on it. */
function inkOf(cells) {
  const [, most] = limitsOf({ cells });
  const table = tableFor("", true);
  return (value) => {
    const at = 3 * Math.round(127.5 + 127.5 * (value / most));
    const rgb = table.subarray(at, at + 3);
    return { colour: `rgb(${rgb.join(" ")})`, dark: isDark(rgb) };
  };
}

/** What stands in no cell, and the sum of all. */
const sumOf = ({ embedding, end, logit }) =>
  t("layers.parts.rest", { embedding: signed(embedding), end: signed(end), logit: signed(logit) });

/** A row a layer: each head, the MLP and the biases of attention. */
function tableOf({ cells }) {
  const heads = cells[0].length - 2;
  const names = ["layer", ...Array.from({ length: heads }, (_, head) => `head_${head + 1}`), "mlp", "bias"];
  return [names, ...cells.map((values, layer) => [layer + 1, ...values])];
}
