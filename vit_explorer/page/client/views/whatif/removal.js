// "Remove the k most important patches by a method": a slider, and the probability at every k.

import { el, replace, setText } from "../../base/dom.js";
import { lackOfMethod } from "../../base/lacks.js";
import { isValued, targetName, twinOf, writerOf } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { createLineChart } from "../../charts/line_chart.js";
import { valueAt } from "../../charts/scales.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { analysesOf, jobOf, mapOf } from "../../state/analyses.js";
import { askForMap } from "../../state/chosen_maps.js";
import { editCode } from "../../state/code_orders.js";
import { answerTo, changeOf, createAsker, removalOf } from "../../state/edit_answers.js";
import { change } from "../../state/edits.js";

// Beyond this a curve, which costs about thirty predictions, is only worked out when asked for.
const QUICK_SECONDS = 3;

const ranked = new WeakMap();

/** Patches from the most important down; equal ones row by row. */
function rankingOf(map) {
  if (!ranked.has(map)) {
    const order = map.values.map((_, patch) => patch);
    ranked.set(
      map,
      order.sort((one, other) => map.values[other] - map.values[one] || one - other),
    );
  }
  return ranked.get(map);
}

/** @param {State} state */
const isQuick = ({ result, curveAsked }) => result.seconds < QUICK_SECONDS || curveAsked;

/** @param {Pick<State, "result">} state */
const mapsOf = ({ result }) => result.maps;

/**
 * The map that ranks: the chosen one, once this picture has it.
 * @param {State} state
 */
function rankedBy(state) {
  return mapOf(state.result, state.ranking) ?? mapsOf(state)[0];
}

/**
 * Methods by name that can rank: those whose maps are here, then those that can be had.
 * @param {State} state
 * @param {Setup} setup
 */
function rankings({ result }, setup) {
  const here = mapsOf({ result }).map(({ name }) => name);
  const others = setup.methods
    .filter((method) => !lackOfMethod(result.model, method) && !(method.name in result.skipped))
    .map(({ name }) => name);
  return [...new Set([...here, ...others])];
}

/**
 * How many of the most important patches are gone: null where others are.
 * @param {State} state
 */
function countGone(state) {
  const { patches } = state.edit;
  const first = rankingOf(rankedBy(state)).slice(0, patches.length);
  const gone = new Set(patches);
  return first.every((patch) => gone.has(patch)) ? patches.length : null;
}

/** @param {Context} context */
export function createRemoval(context) {
  const { store, setup } = context;
  let dragging = false;
  const count = el("output", { for: "vx-removed" });
  const slider = el("input", {
    type: "range",
    min: "0",
    id: "vx-removed",
    "aria-label": t("whatif.remove.count"),
    oninput: () => remove(Number(slider.value)),
    onchange: () => (dragging = false),
  });
  const methods = el("select", {
    id: "vx-ranking",
    "aria-label": t("whatif.method"),
    onchange: () => chooseMethod(methods.value),
  });
  const chart = createLineChart({ onPick: remove, onRelease: () => (dragging = false) });
  const says = el("p", { class: "note removal-says" });
  const start = el(
    "button",
    { type: "button", hidden: true, onclick: () => store.set({ curveAsked: true }) },
    t("whatif.curve.start"),
  );
  const legend = el(
    "p",
    { class: "note chart-legend" },
    el("span", { class: "key key-test" }, t("whatif.curve.most")),
    el("span", { class: "key" }, t("whatif.curve.least")),
  );
  const menu = createFigureMenu(context, "removal", {
    title: () => t("whatif.remove"),
    targeted: () => true,
    detail: (state) => t(`method.${rankedBy(state).name}.title`),
    figure: () => ({
      svg: chart.node,
      keys: [
        [".line-test", t("whatif.curve.most")],
        [".line-train", t("whatif.curve.least")],
      ],
    }),
    table: (state) => {
      const { counts, most, least } = answerTo(state, questionOf(state)).value;
      const rows = counts.map((number, at) => [number, most[at], least[at]]);
      return [["removed", "most important first", "least important first"], ...rows];
    },
    code: (state) => ({ figure: "removal", method: rankedBy(state).name, ...editCode(state) }),
  });
  const node = el(
    "div",
    { class: "removal" },
    el(
      "p",
      { class: "removal-tools" },
      slider,
      count,
      el("label", { class: "tool" }, t("whatif.by"), methods),
    ),
    el("div", { class: "removal-chart" }, chart.node, start),
    legend,
    says,
  );
  const ask = createAsker(context, wanted);
  let listed = "";

  function remove(number) {
    const state = store.get();
    const patches = rankingOf(rankedBy(state)).slice(0, number);
    const changed = change(store, { patches }, { joined: dragging });
    dragging ||= changed;
  }

  /** Another order; as many patches stay gone where they were the first of the order before. */
  function chooseMethod(name) {
    const gone = countGone(store.get());
    store.set({ ranking: name });
    dragging = false;
    if (gone && mapOf(store.get().result, name)) remove(gone);
  }

  /**
   * Whether the chosen method's map is still to come; it is asked for, as it was chosen.
   * @param {State} state
   */
  function awaits(state) {
    const { result, ranking } = state;
    if (mapOf(result, ranking) || !rankings(state, setup).includes(ranking)) return false;
    const { failed } = analysesOf(result);
    if (!(ranking in failed) && !jobOf(result, ranking)) askForMap(result, ranking);
    return true;
  }

  /** @param {State} state */
  function questionOf(state) {
    const map = rankedBy(state);
    const aim = map.class_specific ? state.result.key : "";
    return removalOf(state, `${map.name} ${aim}`, rankingOf(map));
  }

  /** @param {State} state */
  function wanted(state) {
    if (state.tab !== "whatif" || !state.result?.target || !mapsOf(state).length || awaits(state)) return null;
    // The prediction is what moves at once: the curve comes after it.
    if (!answerTo(state, changeOf(state))) return null;
    return isQuick(state) ? questionOf(state) : null;
  }

  function list(names) {
    if (names.join() === listed) return;
    listed = names.join();
    replace(
      methods,
      names.map((name) => el("option", { value: name }, t(`method.${name}.title`))),
    );
  }

  /** @param {State} state */
  function draw(state) {
    const maps = mapsOf(state);
    node.hidden = !maps.length;
    if (!maps.length) return;
    list(rankings(state, setup));
    const coming = awaits(state);
    const { model, target } = state.result;
    const patches = model.grid[0] * model.grid[1];
    const gone = countGone(state);
    methods.value = coming ? state.ranking : rankedBy(state).name;
    slider.disabled = coming;
    slider.max = String(patches);
    slider.value = String(gone ?? 0);
    setText(count, gone === null ? "–" : `${gone}/${patches}`);
    if (coming) {
      const failed = analysesOf(state.result).failed[state.ranking];
      setText(says, failed || t("whatif.ranking.coming", { title: t(`method.${state.ranking}.title`) }));
      node.classList.add("waiting");
      menu.hidden = start.hidden = true;
      return;
    }
    const answer = answerTo(state, questionOf(state));
    start.hidden = Boolean(answer) || isQuick(state);
    menu.hidden = !answer?.value;
    node.classList.toggle("waiting", !answer && start.hidden);
    setText(says, answer?.error ?? t(`whatif.curve.help${twinOf(model)}`, { label: targetName(target) }));
    if (answer?.error) chart.draw({ lines: [], last: patches, text: answer.error, title: "" });
    if (answer?.value) drawCurves(state, answer.value, gone);
    ask();
  }

  /** @param {State} state */
  function drawCurves(state, { counts, most, least }, gone) {
    const { model, target } = state.result;
    const points = (shares) => counts.map((number, at) => [number, shares[at]]);
    const half = counts[Math.floor(counts.length / 2)];
    const write = writerOf(model);
    const share = (shares) => write(valueAt(points(shares), half));
    chart.draw({
      lines: [
        { kind: "train", points: points(least) },
        { kind: "test", points: points(most) },
      ],
      last: model.grid[0] * model.grid[1],
      at: gone,
      title: t("whatif.curve.axis"),
      valued: isValued(model),
      text: t("whatif.curve.text", {
        label: targetName(target),
        start: write(most[0]),
        count: half,
        most: share(most),
        least: share(least),
      }),
    });
  }

  return { node, menu, draw };
}
