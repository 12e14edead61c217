// Loss and accuracy an epoch, of training pictures and of those measured on; pointing or dragging
// chooses an epoch.

import { el, keepSize, replace, setText } from "../base/dom.js";
import { percent, short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { createFigureMenu } from "../controls/figure_menu.js";
import { listenForPicks } from "../controls/picking.js";
import { every, feet, linear, niceStep, rules, ticksIn } from "./scales.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [42, 8, 6, 20];
const PARTS = ["train", "test"];
const KINDS = [
  { name: "loss", format: short, top: (values) => Math.max(...values, 0.1) },
  { name: "accuracy", format: percent, top: () => 1 },
];

/**
 * Both charts; with a `context` they can be saved. `draw({ curves, last, at, measured })`: `last`
 * ends the axis, `at` is the epoch marked, `measured` says what the test columns are of: "test" or
 * "held_out" pictures.
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
 * @param {any} values
 * @param {Context} context
 */
function createChart({ name, format, top }, onPick, context) {
  const values = Object.fromEntries(PARTS.map((part) => [part, el("span", { class: "value" })]));
  const names = Object.fromEntries(PARTS.map((part) => [part, el("span")]));
  const legend = PARTS.map((part) =>
    el("span", { class: `key key-${part}` }, names[part], " ", values[part]),
  );
  const nameOf = (part) => t(`curves.${part === "test" ? shown.measured : part}`);
  const plot = svg("svg", { role: "img", class: onPick ? "pickable" : "" });
  const menu = context && createFigureMenu(context, `training-${name}`, {
    title: () => t(`curves.${name}`),
    figure: () => ({
      svg: plot,
      keys: PARTS.map((part) => [`.line-${part}`, nameOf(part)]),
    }),
    table: () => [["epoch", "train", shown.measured], ...linesOf()],
  });
  const node = el(
    "div",
    { class: "curve" },
    el("p", { class: "curve-head" }, el("strong", {}, t(`curves.${name}`)), legend, menu),
    plot,
  );
  let scale = null;
  let shown = null;
  const size = keepSize(plot, () => shown && draw(shown));

  if (onPick) {
    const pick = (event) => {
      if (!scale) return;
      const share = (event.clientX - plot.getBoundingClientRect().left - LEFT) / scale.wide;
      onPick(Math.min(scale.last, Math.max(0, Math.round(share * scale.last))));
    };
    listenForPicks(plot, pick);
  }

  function draw(what) {
    shown = what;
    const { curves, last, at } = what;
    for (const part of PARTS) setText(names[part], nameOf(part));
    const { width, height } = size;
    if (!width) return;
    const lines = PARTS.map((part) => ({ part, values: curves[`${part}_${name}`] ?? [] }));
    const high = top(lines.flatMap((line) => line.values.filter((value) => value !== null)));
    scale = { last, wide: width - LEFT - RIGHT };
    const x = linear([0, Math.max(1, last)], [LEFT, width - RIGHT]);
    const y = linear([0, high], [height - BOTTOM, TOP]);
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const marked = at ?? lines[0].values.length;
    replace(
      plot,
      axes({ width, height, high, last, format }, x, y),
      at === null ? [] : svg("line", { class: "head", x1: x(at), x2: x(at), y1: TOP, y2: y(0) }),
      lines.flatMap(({ part, values: line }) => drawLine(part, line, marked, x, y)),
    );
    for (const line of lines) {
      const value = line.values[marked - 1];
      setText(values[line.part], value === undefined || value === null ? "–" : format(value));
    }
    plot.setAttribute("aria-label", describe(lines, marked));
  }

  function linesOf() {
    const [train, test] = PARTS.map((part) => shown.curves[`${part}_${name}`] ?? []);
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

function drawLine(part, values, marked, x, y) {
  const points = values
    .map((value, index) => (value === null ? null : `${x(index + 1)},${y(value)}`))
    .filter((point) => point !== null);
  const line = svg("polyline", { class: `line line-${part}`, points: points.join(" ") });
  const value = values[marked - 1];
  if (value === undefined || value === null) return [line];
  return [line, svg("circle", { class: `mark mark-${part}`, cx: x(marked), cy: y(value), r: 3.5 })];
}

function axes({ width, height, high, last, format }, x, y) {
  const write = format === percent ? (mark) => `${Math.round(mark * 100)} %` : short;
  const place = { left: LEFT, right: width - RIGHT, format: write };
  const stride = Math.max(1, niceStep(Math.max(1, last / 3)));
  return [
    ...rules(ticksIn([0, high]), y, place),
    ...feet(every(last + 1, stride), x, height - 5),
  ];
}
