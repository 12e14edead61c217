// What to train: a recipe, the pictures, and what is to be other than the recipe has it.

import { el, replace, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { sentences, t } from "../../base/words.js";
import { ACTIVE } from "./run_table.js";

const RUN = "run:";
const CLASS_WEIGHTS = ["balanced", "none"];

/**
 * @param {(what: object) => void} order
 * @param {Store} store
 */
export function createForm(order, store) {
  const kept = store.get().trainForm; // a page in another language is built anew
  const recipe = el("select", { id: "vx-recipe", onchange: describe });
  const data = el("input", { id: "vx-data", value: kept.data, spellcheck: "false" });
  const epochs = number("epochs", { min: "1", max: "10000", value: kept.epochs });
  const position = el("select", { id: "vx-position" });
  const rate = number("rate", { min: "0", step: "any", value: kept.lr });
  const batch = number("batch", { min: "1", value: kept.batch });
  const weights = el("select", { id: "vx-weights" });
  const balance = el("select", { id: "vx-class-weights" });
  const start = el("button", { class: "primary" }, t("training.run.start"));
  const note = el("p", { class: "note" });
  const changed = [kept.position, kept.lr, kept.batch, kept.weights, kept.classWeights].some(Boolean);
  const node = el(
    "form",
    { class: "train-form", onsubmit: submit, oninput: keep },
    field("training.run.recipe", recipe),
    field("training.run.data", data),
    field("training.run.epochs", epochs),
    start,
    el(
      "details",
      { class: "train-more", open: changed },
      el("summary", {}, t("training.run.more")),
      field("training.run.position", position),
      field("training.run.rate", rate),
      field("training.run.batch", batch),
      field("training.run.weights", weights),
      field("training.run.balance", balance),
    ),
    note,
  );
  /** @type {Runs["recipes"]} */
  let recipes = [];
  let offered = "";
  start.disabled = true;

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const numeric = (control) => (control.value ? Number(control.value) : null);
    order({
      order: "start",
      recipe: recipe.value,
      data: data.value,
      epochs: numeric(epochs),
      position: position.disabled ? null : position.value || null,
      lr: numeric(rate),
      batch_size: numeric(batch),
      weights: weights.value || null,
      class_weights: balance.value || null,
    });
  }

  function keep() {
    store.set({
      trainForm: {
        recipe: recipe.value,
        data: data.value,
        epochs: epochs.value,
        position: position.value,
        lr: rate.value,
        batch: batch.value,
        weights: weights.value,
        classWeights: balance.value,
      },
    });
  }

  /** Say what the chosen recipe has where nothing is changed. */
  function describe() {
    const chosen = recipes.find(({ name }) => name === recipe.value);
    const own = (value) => t("training.run.own", { value });
    epochs.placeholder = own(chosen.epochs);
    rate.placeholder = own(short(chosen.lr));
    batch.placeholder = own(chosen.batch_size);
    const fixed = chosen.position === null;
    position.disabled = fixed;
    const named = fixed ? t("training.run.position.timm") : own(positionName(chosen.position));
    setText(position.options[0], named);
    setText(balance.options[0], own(t(`training.run.balance.${chosen.class_weights ? "own" : "none"}`)));
    setText(note, sentences(t(`recipe.${chosen.name}`), t("training.run.data.help")));
  }

  /** @param {Runs} runs */
  function offer({ recipes: known, choices }) {
    recipes = known;
    replace(recipe, known.map(({ name }) => option(name, name)));
    const named = choices.positions.map((name) => option(name, positionName(name)));
    replace(position, [option("", ""), ...named]);
    const balanced = CLASS_WEIGHTS.map((name) => option(name, t(`training.run.balance.${name}`)));
    replace(balance, [option("", ""), ...balanced]);
    const there = known.some(({ name }) => name === kept.recipe);
    recipe.value = there ? kept.recipe : known[0].name;
    position.value = kept.position;
    balance.value = kept.classWeights;
    describe();
  }

  /**
   * Weights to begin with: shipped ones, and those of the runs there are.
   * @param {Runs} runs
   */
  function offerWeights({ runs, choices }) {
    const own = runs.filter((one) => one.has_weights).map(({ name }) => `${RUN}${name}`);
    const names = [...choices.weights, ...own];
    if (String(names) === offered) return;
    const chosen = offered ? weights.value : kept.weights;
    offered = String(names);
    const shown = names.map((name) => option(name, name.replace(RUN, "")));
    replace(weights, [option("", t("training.run.weights.own")), ...shown]);
    weights.value = names.includes(chosen) ? chosen : "";
  }

  /** @param {State} state */
  function draw({ runs, training }) {
    if (!recipes.length) offer(runs);
    offerWeights(runs);
    start.disabled = ACTIVE.includes(training?.state);
  }
  return { node, draw };
}

/** @param {string} name */
const positionName = (name) => t(`training.run.position.${name}`);

/**
 * @param {string} value
 * @param {string} text
 */
const option = (value, text) => el("option", { value }, text);

/**
 * @param {string} name
 * @param {Record<string, string>} more
 */
const number = (name, more) => el("input", { id: `vx-${name}`, type: "number", ...more });

/**
 * @param {string} label
 * @param {HTMLElement} control
 */
const field = (label, control) => el("label", { class: "field" }, el("span", {}, t(label)), control);
