// The runs there are: how far each came, what can be done with it, and which are compared.

import { el, replace, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { MOST } from "./compared_runs.js";

export const ACTIVE = ["running", "stopping"];

/**
 * @param {(what: object) => void} order
 * @param {Context} context
 * @param {() => void} leave - where the keyboard goes when the row it was in is drawn anew
 */
export function createRuns(order, { store, actions }, leave) {
  const body = el("tbody");
  const folder = el("p", { class: "note" });
  const heads = ["training.run.run", "training.run.epochs", "training.run.accuracy", "training.run.state", "training.run.actions", "training.compare"];
  const table = el(
    "table",
    { class: "runs" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((head) => el("th", { scope: "col" }, t(head))),
      ),
    ),
    body,
  );
  const node = el(
    "div",
    { class: "card", hidden: true },
    el("h3", {}, t("training.run.runs")),
    folder,
    table,
    el("p", { class: "note" }, t("training.compare.help", { most: MOST })),
  );
  let shown = null;

  /** @param {Event & { currentTarget: HTMLInputElement }} event */
  function choose({ currentTarget: { value, checked } }) {
    const others = store.get().comparedRuns.filter((name) => name !== value);
    store.set({ comparedRuns: checked ? [...others, value] : others });
  }

  function row(run, active) {
    const { name, epochs, accuracy, measured, finished, training, has_weights: open } = run;
    const busy = training || active?.run === name; // another process's, or this server's
    const state = busy ? "training.run.active" : finished ? "training.run.finished" : "training.run.paused";
    const act = (words, what, disabled) =>
      el("button", { type: "button", disabled, onclick: what }, t(words));
    return el(
      "tr",
      { dataset: { run: name } },
      el("th", { scope: "row" }, name),
      el("td", {}, String(epochs)),
      el("td", {}, accuracy === null ? "–" : `${percent(accuracy)} (${t(`curves.${measured}`)})`),
      el("td", {}, t(state)),
      el(
        "td",
        { class: "run-actions" },
        act("training.run.open", () => actions.explainModel(`run:${name}`), !open),
        finished
          ? null
          : act("training.run.resume", () => order({ order: "resume", run: name }), Boolean(active) || busy),
      ),
      el(
        "td",
        {},
        el("input", {
          type: "checkbox",
          value: name,
          "aria-label": t("training.compare.choose", { name }),
          onchange: choose,
        }),
      ),
    );
  }

  /** @param {State} state */
  function draw({ runs, training, comparedRuns }) {
    drawRows(runs, training);
    for (const box of body.querySelectorAll("input")) {
      box.checked = comparedRuns.includes(box.value);
      box.disabled = !box.checked && comparedRuns.length >= MOST;
    }
  }

  /**
   * @param {Runs} runs
   * @param {Training | null} training
   */
  function drawRows(runs, training) {
    const active = ACTIVE.includes(training?.state) ? training : null;
    const key = JSON.stringify([runs.runs, active?.run]);
    if (key === shown) return;
    shown = key;
    node.hidden = !runs.runs.length;
    setText(folder, t("training.run.folder", { folder: runs.folder }));
    const held = body.contains(document.activeElement);
    replace(
      body,
      runs.runs.map((run) => row(run, active)),
    );
    if (held) leave();
  }
  return { node, draw };
}
