// Loss and accuracy an epoch, of training pictures and of those measured on; pointing or dragging
// chooses an epoch.

import { el, keepSize, setText } from "../base/dom.js";
import { percent, short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { createFigureMenu } from "../controls/figure_menu.js";
import { listenForPicks } from "../controls/picking.js";
import { curve, dot, feet, planeOf, pointedAt, show, upright } from "./axes.js";
import { footing, percentsOf, rangeOf, writerOf } from "./scales.js";

const MARGINS = { left: 42, top: 6, bottom: 20 };
const PARTS = ["train", "test"];
// A kind's numbers, its ticks, and what its axis holds in any case.
const KINDS = [
  { name: "loss", format: short, write: writerOf, held: [0, 0.1] },
  { name: "accuracy", format: percent, write: percentsOf, held: [0, 1] },
];

/**
 * Both charts; with a `context` they can be saved. `draw({ curves, last, at, measured })`: `last`
 * ends the axis, `at` is the epoch marked, `measured` says what the test columns are of: "test" or
 * "held_out" pictures.
 * @param {{ onPick?: ((epoch: number) => void) | null, context?: Context | null }} [options]
 */
export function createCurves({ onPick = null, context = null } = {}) {
  const charts = KINDS.map((kind) => createChart(kind, onPick, context));
  const node = el(
    "div",
    { class: "curves" },
    charts.map((chart) => chart.node),
  );
  const draw = (what) => {
    for (const chart of charts) chart.draw(what);
  };
  return { node, draw };
}

/**
 * @typedef {object} Shown
 * @property {Record<string, (number | null)[]>} curves
 * @property {number} last
 * @property {number | null} at
 * @property {string} measured
 */

/**
 * @param {typeof KINDS[number]} kind
 * @param {((epoch: number) => void) | null} onPick
 * @param {Context | null} context
 */
function createChart({ name, format, write, held }, onPick, context) {
  const values = Object.fromEntries(PARTS.map((part) => [part, el("span", { class: "value" })]));
  const names = Object.fromEntries(PARTS.map((part) => [part, el("span")]));
  const legend = PARTS.map((part) =>
    el("span", { class: `key key-${part}` }, names[part], " ", values[part]),
  );
  const nameOf = (part) => t(`curves.${part === "test" ? shown?.measured : part}`);
  const plot = svg("svg", { role: "img", class: onPick ? "pickable" : "" });
  const menu = context && createFigureMenu(context, `training-${name}`, {
    title: () => t(`curves.${name}`),
    figure: () => ({
      svg: plot,
      keys: PARTS.map((part) => [`.line-${part}`, nameOf(part)]),
    }),
    table: () => [["epoch", "train", shown?.measured], ...linesOf()],
  });
  const node = el(
    "div",
    { class: "curve" },
    el("p", { class: "curve-head" }, el("strong", {}, t(`curves.${name}`)), legend, menu),
    plot,
  );
  /** @type {import("./axes.js").Plane | null} */
  let drawn = null;
  /** @type {Shown | null} */
  let shown = null;
  const size = keepSize(plot, () => shown && draw(shown));

  if (onPick) {
    const pick = (event) => drawn && shown && onPick(pointedAt(event, plot, drawn, shown.last));
    listenForPicks(plot, pick);
  }

  /** @param {Shown} what */
  function draw(what) {
    shown = what;
    const { curves, last, at } = what;
    for (const part of PARTS) setText(names[part], nameOf(part));
    if (!size.width) return;
    const lines = PARTS.map((part) => ({ part, values: curves[`${part}_${name}`] ?? [] }));
    const up = rangeOf(lines.flatMap((line) => line.values), held);
    const plane = planeOf(size, { across: [0, Math.max(1, last)], up, write }, MARGINS);
    drawn = plane;
    const marked = at ?? lines[0].values.length;
    for (const line of lines) {
      const value = line.values[marked - 1];
      setText(values[line.part], value === undefined || value === null ? "–" : format(value));
    }
    const parts = [
      ...plane.rules,
      ...feet(plane, footing(last + 1, plane.right - plane.left)),
      at === null ? [] : upright(plane, at),
      ...lines.flatMap(({ part, values: line }) => [
        curve(plane, line.map((value, index) => [index + 1, value]), `line line-${part}`),
        dot(plane, [marked, line[marked - 1]], { r: 3.5, class: `mark mark-${part}` }),
      ]),
    ];
    show(plot, size, parts, describe(lines, marked));
  }

  function linesOf() {
    const [train, test] = PARTS.map((part) => shown?.curves[`${part}_${name}`] ?? []);
    return train.map((value, at) => [at + 1, value ?? "", test[at] ?? ""]);
  }

  /** @param {number} epoch */
  function describe(lines, epoch) {
    const [train, test] = lines.map(({ part }) => values[part].textContent);
    const measured = nameOf("test");
    return t("curves.text", { name: t(`curves.${name}`), epoch, train, measured, test });
  }
  return { node, draw };
}
