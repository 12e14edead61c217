// What to open: a folder to measure the model on, a training's run, or an evaluation's files.

import { el, replace, segmented } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { readTraining } from "../../server/requests.js";
import { openSet, stopDataJob } from "../../state/data_set.js";

const KINDS = ["folder", "run", "files"];

/** @param {Context} context */
export function createOpenForm(context) {
  const { store, actions } = context;
  /** @param {Partial<State["dataForm"]>} changes */
  const keep = (changes) => store.set({ dataForm: { ...store.get().dataForm, ...changes } });
  const kinds = segmented(
    t("data.open.kind"),
    KINDS.map((kind) => [kind, t(`data.open.${kind}`)]),
    (kind) => keep({ kind }),
  );
  const { dataForm: before } = store.get(); // a page in another language is built anew
  const input = (name) =>
    el("input", {
      id: `vx-data-${name}`,
      value: before[name],
      spellcheck: "false",
      oninput: (event) => keep({ [name]: event.target.value }),
    });
  const [place, data] = [input("place"), input("data")];
  const run = el("select", { id: "vx-data-run", onchange: () => keep({ run: run.value }) });
  const field = (key, control) => el("label", { class: "field" }, el("span", {}, t(key)), control);
  const fields = {
    place: field("data.open.place", place),
    data: field("data.open.data", data),
    run: field("data.open.run.choose", run),
  };
  const open = el("button", { class: "primary" }, t("data.open"));
  const stop = el("button", { type: "button", onclick: () => stopDataJob(store) }, t("data.stop"));
  const progress = createProgress(t("data.open.progress"), "data.progress");
  const help = el("p", { class: "note" });
  const form = el(
    "form",
    { class: "train-form", onsubmit: submit },
    fields.place, fields.data, fields.run, open, stop, progress.node,
  );
  const node = el(
    "div",
    { class: "card data-card" },
    el("div", { class: "data-open-head" }, el("h3", {}, t("data.open.title")), kinds.node),
    form,
    help,
  );
  let asked = false;

  function submit(event) {
    event.preventDefault();
    const { kind } = store.get().dataForm;
    const model = store.get().result.model.id;
    if (kind === "folder") openSet(context, { kind, data: data.value, model });
    else if (kind === "run") openSet(context, { kind, run: run.value });
    else openSet(context, { kind, place: place.value, data: data.value });
  }

  /** The runs there are, asked for anew each time that the reader turns to them. */
  async function fetchRuns() {
    try {
      store.set({ runs: await readTraining() });
    } catch {
      actions.fail(t("state.offline"));
    }
  }

  /** @param {State} state */
  function draw({ dataForm, dataJob, runs, result }) {
    const { kind } = dataForm;
    kinds.show(kind);
    fields.place.hidden = kind !== "files";
    fields.data.hidden = kind === "run";
    fields.run.hidden = kind !== "run";
    if (kind === "run" && !asked) fetchRuns();
    asked = kind === "run";
    const finished = (runs?.runs ?? []).filter((one) => one.finished).map(({ name }) => name);
    if (String(finished) !== run.dataset.runs) {
      replace(run, finished.map((name) => el("option", { value: name }, name)));
      run.dataset.runs = String(finished);
      if (finished.includes(dataForm.run)) run.value = dataForm.run;
    }
    const none = kind === "run" && !finished.length;
    help.textContent = none
      ? t("data.open.run.none")
      : t(`data.open.${kind}.help`, { model: result.model.id });
    const opening = dataJob?.what === "open";
    open.disabled = Boolean(dataJob) || none;
    stop.hidden = !opening;
    progress.show(opening ? dataJob : null);
  }
  return { node, draw };
}
