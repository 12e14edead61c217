// Training in the page: what to train, the live curves of the run under way, and the runs there are.

import { el, setText } from "../../base/dom.js";
import { clock, fixed, short } from "../../base/format.js";
import { said, sentences, t } from "../../base/words.js";
import { createCurves } from "../../charts/curves.js";
import { linesOf } from "../../server/jobs.js";
import { orderTraining, readTraining } from "../../server/requests.js";
import { createComparedRuns } from "./compared_runs.js";
import { ACTIVE, createRuns } from "./run_table.js";
import { createForm } from "./train_form.js";

const PACE = 1000;
const SHORTEST_AXIS = 10;
const KINDS = ["loss", "accuracy"];

/** @param {Context} context */
export function createTrainer(context) {
  const { store, setup, actions, signal } = context;
  if (!setup.training) return createRefusal();
  const tell = (error) =>
    actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
  const order = (what) =>
    orderTraining(what)
      .then((training) => {
        store.set({ training });
        follow();
      })
      .catch(tell);
  const form = createForm(order, store);
  const live = createLive(order, actions);
  const runs = createRuns(order, context, live.focus);
  const compared = createComparedRuns(context);
  const node = el(
    "section",
    { class: "trainer" },
    el("div", { class: "card" }, el("h3", {}, t("training.run.title")), form.node),
    live.node,
    runs.node,
    compared.node,
  );
  let following = null;
  let lost = false;
  signal.addEventListener("abort", () => following?.abort());

  async function refresh() {
    const found = await readTraining();
    store.set({ runs: found, training: found.now });
    if (ACTIVE.includes(found.now?.state)) follow();
  }

  /** Hear of each change until the run has ended. */
  async function follow() {
    following?.abort();
    following = new AbortController();
    const caller = following;
    try {
      for await (const { training } of linesOf("training/news", null, caller.signal)) {
        if (lost && store.get().problem === t("state.offline")) store.set({ problem: "" });
        lost = false;
        store.set({ training });
      }
      const { training } = store.get();
      if (training?.error.text) actions.fail(said(training.error));
      await refresh();
    } catch {
      if (caller.signal.aborted) return;
      // Said once: a phone that slept, or a server that comes back, goes on.
      if (!lost) actions.fail(t("state.offline"));
      lost = true;
      setTimeout(() => caller.signal.aborted || follow(), PACE);
    }
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.runs) return;
    form.draw(state);
    live.draw(state);
    runs.draw(state);
    compared.draw(state);
  }
  return { node, draw, refresh: () => refresh().catch(() => actions.fail(t("state.offline"))) };
}

function createRefusal() {
  const node = el(
    "section",
    { class: "trainer" },
    el(
      "div",
      { class: "card" },
      el("h3", {}, t("training.run.title")),
      el("p", { class: "note" }, t("training.run.off")),
    ),
  );
  return { node, draw: () => {}, refresh: () => {} };
}

/** How far a run is within its epoch. */
function stepOf(step) {
  if (!step) return "";
  const values = { step: step.step, steps: step.steps, loss: fixed(step.loss, 3) };
  const { seconds_left: left } = step;
  return sentences(
    t("training.run.step", values),
    left === null ? "" : t("training.run.left", { time: clock(left) }),
  );
}

/**
 * The run under way, or the one that ended last.
 * @param {Actions} actions
 */
function createLive(order, actions) {
  const title = el("h3", { tabindex: "-1" });
  const says = el("p", { class: "note", role: "status" });
  const stop = el(
    "button",
    { type: "button", onclick: () => order({ order: "stop" }) },
    t("training.run.stop"),
  );
  const open = el("button", { type: "button", class: "primary" }, t("training.run.open"));
  const notes = el("p", { class: "note" });
  const curves = createCurves();
  const node = el(
    "div",
    { class: "card live", hidden: true },
    el("div", { class: "live-head" }, title, says, stop, open),
    notes,
    curves.node,
  );
  let run = "";
  open.addEventListener("click", () => actions.explainModel(`run:${run}`));

  /** @param {State} state */
  function draw({ training }) {
    node.hidden = !training;
    if (!training) return;
    const { rows, epochs, patience, state } = training;
    run = training.run;
    setText(title, run);
    const values = { epoch: Math.min(rows.length + 1, epochs), epochs, done: rows.length };
    const speed = rows.length
      ? t("training.run.speed", { speed: short(rows.at(-1).images_per_second) })
      : "";
    const waited = rows.at(-1)?.epochs_without_gain ?? 0;
    const over = rows.length === epochs || (patience !== null && waited >= patience);
    const measuring = over && state === "running";
    const doing = measuring ? t("training.run.measuring") : t(`training.run.state.${state}`, values);
    const within = state === "running" ? stepOf(training.step) : "";
    const waiting =
      waited && !over && ACTIVE.includes(state)
        ? t("training.run.waiting", { count: waited, patience })
        : "";
    setText(says, sentences(doing, within, waiting, said(training.error) || speed));
    setText(notes, training.notes.map(said).join(" · "));
    notes.hidden = !training.notes.length;
    const held = document.activeElement === stop;
    stop.hidden = !ACTIVE.includes(state);
    stop.disabled = state === "stopping";
    open.hidden = !training.has_weights;
    if (held && (stop.hidden || stop.disabled)) title.focus(); // else the keyboard starts anew
    const { measured } = training;
    const column = (name) => rows.map((row) => row[name]);
    const columns = KINDS.flatMap((kind) => [
      [`train_${kind}`, column(`train_${kind}`)],
      [`test_${kind}`, column(`${measured}_${kind}`)],
    ]);
    // A long run's first epochs would be a dot in the corner of an axis to its end.
    const last = Math.min(epochs, Math.max(SHORTEST_AXIS, 2 * rows.length));
    curves.node.hidden = !rows.length;
    curves.draw({ curves: Object.fromEntries(columns), last, at: null, measured });
  }
  return { node, draw, focus: () => title.focus() };
}
