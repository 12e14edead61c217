// How far the shown maps agree: the rank correlation of each two, and the two of a chosen cell.

import { el, replace, setText } from "../../base/dom.js";
import { fixed } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { isDark, tableFor } from "../../maps/colours.js";
import { level } from "../../maps/pixels.js";
import { correlation, ranks } from "../../maps/rank_correlation.js";
import { mapOf } from "../../state/analyses.js";
import { chosenIds, mapTitle } from "../../state/chosen_maps.js";

// So many fit a card of one column, and so many a wide one with their numbers.
const MOST_NARROW = 6;
const MOST_NUMBERED = 14;
const LIMITS = [-1, 1];
// The saved matrix: its width, the part of it that the names take, and its largest cell.
const [WIDE, NAMES, LARGEST_CELL] = [800, 210, 60];

/** @param {Context} context */
export function createAgreement(context) {
  const { store, setup } = context;
  const menu = createFigureMenu(context, "agreement", {
    title: () => `${t("explain.agreement")} · ${t("explain.agreement.what")}`,
    figure: () => ({ paint, aspect: WIDE / (ids.length * cellSize()) }),
    table: () => [["map", ...ids], ...ids.map((id, row) => [id, ...table[row].map((one) => one ?? "")])],
  });
  const rows = el("div", { class: "agreement", role: "group", "aria-label": t("explain.agreement"), onkeydown: move });
  const says = el("p", { class: "agreement-says", "aria-live": "polite" });
  const node = el(
    "div",
    { class: "card card-agreement" },
    el(
      "h3",
      {},
      el("span", { class: "heading" }, t("explain.agreement"), " ", el("small", {}, t("explain.agreement.what"))),
      menu,
    ),
    rows,
    says,
  );
  let ids = [];
  let table = [];
  let cells = [];
  let built = "";

  /** @param {State} state */
  function rebuild(state) {
    const ranked = ids.map((id) => ranks(mapOf(state.result, id).values));
    table = ranked.map((one) => ranked.map((other) => correlation(one, other)));
    cells = [];
    const lines = ids.map((id, row) => {
      const title = el("span", { class: "agreement-name", title: mapTitle(id) }, mapTitle(id));
      return [title, ...ids.map((_, column) => createCell(row, column))];
    });
    rows.style.setProperty("--maps", String(ids.length));
    rows.classList.toggle("numbered", ids.length <= MOST_NUMBERED);
    node.classList.toggle("wide", ids.length > MOST_NARROW);
    replace(rows, lines.flat());
  }

  function createCell(row, column) {
    const value = table[row][column];
    if (row === column) return el("span", { class: "agreement-same" });
    const names = { one: mapTitle(ids[row]), other: mapTitle(ids[column]), value: written(value) };
    const button = el(
      "button",
      {
        type: "button",
        tabindex: cells.length ? "-1" : "0",
        "aria-label": t("explain.agreement.pair", names),
        title: t("explain.agreement.pair", names),
        onclick: () => choose([ids[row], ids[column]]),
      },
      ids.length <= MOST_NUMBERED ? written(value, 1).replace("0.", ".") : "",
    );
    const colour = colourOf(value);
    button.style.background = `rgb(${[...colour].join(" ")})`;
    button.classList.toggle("on-dark", isDark(colour));
    cells.push({ row, column, button });
    return button;
  }

  function choose(pair) {
    store.set({ pair: isPair(store.get().pair, pair) ? null : pair });
  }

  function move(event) {
    if (event.key === "Escape") store.set({ pair: null });
    const at = cells.find(({ button }) => button === document.activeElement);
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!at || !step) return;
    event.preventDefault();
    let [row, column] = [at.row + step[0], at.column + step[1]];
    if (row === column) [row, column] = [row + step[0], column + step[1]];
    const next = cells.find((cell) => cell.row === row && cell.column === column);
    if (!next) return;
    at.button.tabIndex = -1;
    next.button.tabIndex = 0;
    next.button.focus();
  }

  const cellSize = () => Math.min(LARGEST_CELL, (WIDE - NAMES) / ids.length);

  /**
   * The matrix as a drawing, in units of a figure `WIDE` across.
   * @param {number} width
   */
  function paint(drawing, width) {
    const size = cellSize();
    drawing.scale(width / WIDE, width / WIDE);
    drawing.textBaseline = "middle";
    ids.forEach((id, row) => {
      const middle = (row + 0.5) * size;
      drawing.font = "13px system-ui, sans-serif";
      drawing.fillStyle = "#1a1a1a";
      drawing.textAlign = "left";
      drawing.fillText(mapTitle(id), 0, middle, NAMES - 8);
      drawing.textAlign = "center";
      drawing.font = `${Math.min(13, size / 2.6)}px system-ui, sans-serif`;
      ids.forEach((_, column) => {
        const colour = colourOf(table[row][column]);
        drawing.fillStyle = row === column ? "#e4e4e4" : `rgb(${[...colour].join(" ")})`;
        drawing.fillRect(NAMES + column * size, row * size, size - 1, size - 1);
        if (row === column) return;
        drawing.fillStyle = isDark(colour) ? "#ffffff" : "#000000";
        const text = written(table[row][column], 1);
        drawing.fillText(text, NAMES + (column + 0.5) * size, middle, size);
      });
    });
  }

  /** @param {State} state */
  function describe(state) {
    if (ids.length < 2) return t("explain.agreement.few");
    const chosen = shownPair(state, ids);
    const [row, column] = chosen ? chosen.map((id) => ids.indexOf(id)) : leastAlike(table);
    const value = table[row][column];
    const names = { one: mapTitle(ids[row]), other: mapTitle(ids[column]), value: written(value) };
    if (!chosen) return t("explain.agreement.least", names);
    return t(`explain.agreement.${degree(value)}`, names);
  }

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    ids = chosenIds(state, setup).filter((id) => mapOf(result, id));
    const key = [result.key, ids].join();
    if (key !== built) rebuild(state);
    built = key;
    const pair = shownPair(state, ids);
    for (const { row, column, button } of cells) {
      button.setAttribute("aria-pressed", String(isPair(pair, [ids[row], ids[column]])));
    }
    setText(says, describe(state));
  }
  return { node, draw };
}

/**
 * The pair the reader chose, if both of its maps are shown.
 * @param {State} state
 */
export function shownPair({ pair }, ids) {
  return pair?.every((id) => ids.includes(id)) ? pair : null;
}

const isPair = (pair, [one, other]) => Boolean(pair?.includes(one) && pair.includes(other));
function written(value, digits = 2) {
  return value === null ? "–" : fixed(value, digits);
}

/**
 * @param {number | null} value
 */
function colourOf(value) {
  const table = tableFor("", true);
  const at = level(value ?? 0, LIMITS) * 3;
  return [table[at], table[at + 1], table[at + 2]];
}

function degree(value) {
  if (value === null) return "flat";
  if (value >= 0.7) return "much";
  if (value >= 0.3) return "some";
  return value > -0.3 ? "little" : "opposite";
}

function leastAlike(table) {
  let best = [1, 0];
  table.forEach((line, row) => {
    for (let column = 0; column < row; column += 1) {
      if ((line[column] ?? 2) < (table[best[0]][best[1]] ?? 2)) best = [row, column];
    }
  });
  return best;
}
