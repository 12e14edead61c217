// Chosen runs side by side: their curves on one axis, what differs between them, and which is better.

import { el, replace, setText } from "../../base/dom.js";
import { percent, short } from "../../base/format.js";
import { said, t } from "../../base/words.js";
import { createLineChart } from "../../charts/line_chart.js";
import { valueAt } from "../../charts/scales.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { compareRuns } from "../../server/requests.js";

// As many as there are colours that nearly everyone tells apart, in training.css.
export const MOST = 7;
const MEASURES = ["loss", "accuracy"];

/** @param {Context} context */
export function createComparedRuns(context) {
  const { store, actions } = context;
  const says = el("div", { class: "compared-says" });
  const charts = MEASURES.map((measure) => createChart(measure, context));
  const drawn = el("div", { class: "curves" }, charts.map((chart) => chart.node));
  const head = el("thead");
  const body = el("tbody");
  const table = el("table", { class: "differing" }, head, body);
  const scroll = el(
    "div",
    { class: "compared-table", tabindex: "0", role: "region", "aria-label": t("training.compare.differs") },
    table,
  );
  const same = el("p", { class: "note" }, t("training.compare.same"));
  const node = el(
    "div",
    { class: "card compared", hidden: true },
    el("h3", {}, t("training.compare.title")),
    says,
    drawn,
    el("h3", {}, t("training.compare.differs")),
    scroll,
    same,
  );
  let asked = "";

  /** @param {State} state */
  function draw({ runs, comparedRuns }) {
    const chosen = runs.runs.filter(({ name }) => comparedRuns.includes(name));
    const wanted = chosen.length < 2 ? "" : JSON.stringify([comparedRuns, chosen]);
    if (wanted === asked) return;
    asked = wanted;
    if (!wanted) node.hidden = true;
    else compare(comparedRuns, wanted);
  }

  /**
   * @param {string[]} names
   * @param {string} wanted
   */
  async function compare(names, wanted) {
    try {
      const found = await compareRuns(names);
      if (asked === wanted) show(found);
    } catch (error) {
      if (asked !== wanted) return;
      asked = "";
      store.set({ comparedRuns: [] });
      actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  /** @param {ComparedRuns} found */
  function show({ runs, differs, said: judged, notes }) {
    const lines = [...judged, ...notes].map((one) => el("p", { class: "note" }, said(one)));
    replace(says, lines);
    for (const chart of charts) chart.show(runs);
    const name = (text) => el("th", { scope: "col" }, text);
    replace(head, [el("tr", {}, name(""), runs.map((run) => name(run.name)))]);
    replace(
      body,
      differs.map(({ setting, values }) =>
        el("tr", {}, el("th", { scope: "row" }, setting), values.map((value) => el("td", {}, value))),
      ),
    );
    scroll.hidden = !differs.length;
    same.hidden = !scroll.hidden;
    node.hidden = false;
  }
  return { node, draw };
}

/**
 * One measure of all runs; pointing at an epoch says the values there, else they are the last ones.
 * @param {string} measure
 * @param {Context} context
 */
function createChart(measure, context) {
  const format = measure === "loss" ? short : percent;
  const title = () => t(`training.compare.${measure}`);
  const keys = el("p", { class: "chart-legend" });
  const chart = createLineChart({ onPick: (epoch) => paint(epoch) });
  const menu = createFigureMenu(context, `runs-${measure}`, {
    title,
    figure: () => ({ svg: chart.node, keys: runs.map(({ name }, at) => [`.line-run-${at}`, name]) }),
    table: () => [
      ["epoch", ...runs.map(({ name }) => name)],
      ...Array.from({ length: last() }, (_, at) => [at + 1, ...runs.map((run) => pointsOf(run)[at]?.[1] ?? "")]),
    ],
  });
  const node = el(
    "div",
    { class: "curve" },
    el("p", { class: "curve-head" }, el("strong", {}, title()), menu),
    chart.node,
    keys,
  );
  /** @type {ComparedRuns["runs"]} */
  let runs = [];
  const last = () => Math.max(0, ...runs.map(({ epochs }) => epochs.length));

  /** @param {ComparedRuns["runs"][number]} run */
  const pointsOf = (run) =>
    run.epochs.map((epoch, at) => /** @type {Pair} */ ([epoch, run[`test_${measure}`][at]]));

  /** @param {ComparedRuns["runs"]} found */
  function show(found) {
    runs = found;
    replace(
      keys,
      runs.map((_, at) => el("span", { class: `key key-run-${at}` })),
    );
    paint(null);
  }

  /** @param {number | null} at */
  function paint(at) {
    const lines = runs.map((run, place) => ({ kind: `run-${place}`, points: pointsOf(run) }));
    const values = runs.map((run, place) => {
      const { points } = lines[place];
      const value = at === null ? points.at(-1)?.[1] : valueAt(points, at);
      const shown = value === null || value === undefined ? "–" : format(value);
      return `${run.name} (${t(`curves.${run.measured}`)}) ${shown}`;
    });
    values.forEach((value, place) => setText(keys.children[place], value));
    const text = t("training.compare.text", { name: title(), values: values.join(", ") });
    chart.draw({ lines, last: last(), at, title: t("training.film.epoch"), valued: measure === "loss", text });
  }
  return { node, show };
}
