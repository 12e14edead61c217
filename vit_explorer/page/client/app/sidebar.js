// The picture, ways to bring another, and the predictions: what never leaves the screen.

import { nameOf } from "../base/class_names.js";
import { el, fitCanvas, replace, setText } from "../base/dom.js";
import { milliseconds } from "../base/format.js";
import { hint } from "../base/hints.js";
import { isPlain, isValued, targetName, told } from "../base/outputs.js";
import { list, t } from "../base/words.js";
import { barOf } from "../charts/share_bar.js";
import { openCamera } from "../controls/camera.js";
import { createClassList } from "../controls/class_list.js";
import { createClassSearch } from "../controls/class_search.js";
import { cropIn } from "../maps/picture.js";
import { createExampleStrip } from "./example_strip.js";
import { createPictureValues } from "./picture_values.js";
import { createWordsForm } from "./words_form.js";

const SHOWN = 5; // As many predictions as the server sends.
// What is said of numbers that don't sum to 1.
const KINDS = ["labels", "probabilities", "value"];

/** @param {Context} context */
export function createSidebar({ store, setup, actions }) {
  const picture = createPicture(store);
  const context = { store, actions };
  const tools = [createClassList(context), createClassSearch(context), createWordsForm(context)];
  const predictions = createPredictions(store, actions, tools);
  const file = el("input", {
    type: "file",
    accept: "image/*,.npy",
    class: "visually-hidden",
    id: "vx-file",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: () => {
      if (file.files.length) actions.explainFile(file.files[0]);
      file.value = "";
    },
  });
  const buttons = el(
    "div",
    { class: "picture-actions" },
    el("button", { type: "button", onclick: () => file.click() }, t("action.choose")),
    el("button", { type: "button", onclick: () => openCamera(actions) }, t("action.photo")),
    file,
  );
  const values = createPictureValues({ store, actions });
  const examples = createExampleStrip({ store, setup, actions });
  return el(
    "aside",
    { class: "sidebar", "aria-label": t("sidebar") },
    el("div", { class: "sidebar-picture" }, picture, values, buttons, examples),
    predictions,
  );
}

/** @param {Store} store */
function createPicture(store) {
  const canvas = el("canvas", { class: "picture", role: "img" });
  const caption = el("p", { class: "note" });
  new ResizeObserver(() => draw(store.get())).observe(canvas);

  /** @param {State} state */
  function draw(state) {
    if (!state.result) return;
    const { picture } = state.result;
    canvas.style.setProperty("--aspect", (picture.width / picture.height).toFixed(4));
    const [width, height] = fitCanvas(canvas, canvas.clientWidth, canvas.clientHeight);
    const context = canvas.getContext("2d");
    state.image.draw(context, width, height, true);
    const [left, top, right, bottom] = cropIn(state.result, width, height);
    const all = left <= 1 && top <= 1 && right >= width - 1 && bottom >= height - 1;
    if (!all) {
      context.fillStyle = "rgb(0 0 0 / 0.55)";
      context.beginPath();
      context.rect(0, 0, width, height);
      context.rect(left, top, right - left, bottom - top);
      context.fill("evenodd");
      context.strokeStyle = "white";
      context.lineWidth = 2;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    canvas.setAttribute("aria-label", t("picture.alt", { name: picture.name }));
    const values = {
      caption: t("picture.caption", picture),
      part: t(all ? "picture.all" : "picture.part"),
      how: hint("picture.how", "picture.how.touch"),
    };
    setText(caption, t("picture.says", values));
  }

  store.on(["result", "image"], draw);
  return el("div", {}, canvas, caption);
}

/**
 * @param {Store} store
 * @param {Actions} actions
 */
function createPredictions(store, actions, tools) {
  const rows = el(
    "div",
    { class: "predictions", role: "group", "aria-label": t("predictions.title") },
    Array.from({ length: SHOWN }, () => el("div", { class: "bone" })),
  );
  const other = el("p", { class: "note" });
  const kind = el("p", { class: "note" });
  const side = el("button", { type: "button", class: "other-side", hidden: true, onclick: turn });
  const rival = el("select", { onchange: setAgainst });
  const against = el("label", { class: "rival", hidden: true }, t("predictions.rather"), " ", rival);
  const unsure = el("p", { class: "note unsure", role: "status", hidden: true });
  const few = el("p", { class: "note few-classes" });
  const time = el("p", { class: "note time" });
  const asking = el("small", {}, t("predictions.hint"));

  /** @param {Prediction} prediction */
  function row(prediction, target) {
    const { index, label } = prediction;
    return el(
      "button",
      {
        type: "button",
        "aria-pressed": String(index === target?.index && isPlain(target)),
        dataset: { index: String(index) },
        onclick: () => actions.explainTarget(index, nameOf(label)),
      },
      el("span", { class: "label" }, nameOf(label)),
      el("span", { class: "share" }, told(prediction)),
      barOf(prediction),
    );
  }

  /** What speaks against the class that is explained, or for it again. */
  function turn() {
    const { target } = store.get().result;
    actions.explainTarget(isPlain(target) ? `not ${target.index}` : target.index, target.of);
  }

  /** Another of the predictions, to set the class against. */
  function offerRivals({ predictions }, { index, rather }) {
    const others = predictions.filter((each) => each.index !== index);
    if (rather && !others.some((each) => each.index === rather.index)) others.unshift(rather);
    const options = others.map((each) => el("option", { value: String(each.index) }, nameOf(each.label)));
    replace(rival, el("option", { value: "" }, t("predictions.alone")), ...options);
    rival.value = rather ? String(rather.index) : "";
    against.hidden = !others.length;
  }

  function setAgainst() {
    const { index, of } = store.get().result.target;
    actions.explainTarget(rival.value ? `${index} - ${rival.value}` : index, of);
  }

  store.on(["result"], ({ result }) => {
    const active = /** @type {HTMLElement} */ (document.activeElement);
    const focused = rows.contains(active) ? active.dataset.index : null;
    const { target, model } = result;
    replace(
      rows,
      result.predictions.map((prediction) => row(prediction, target)),
    );
    const again = rows.querySelector(`[data-index="${focused}"]`);
    if (again instanceof HTMLElement) again.focus();
    const listed = result.predictions.some(({ index }) => index === target?.index);
    asking.hidden = !target;
    setText(kind, KINDS.includes(model.outputs) && !model.sums_to_one ? t(`predictions.${model.outputs}`) : "");
    side.hidden = !target;
    against.hidden = !target;
    if (!target) setText(other, t("predictions.none"));
    else {
      const shown = { label: targetName(target), share: told(target) };
      setText(other, listed && isPlain(target) ? "" : t(target.rather && !isValued(model) ? "predictions.both" : "predictions.other", shown));
      const turned = isPlain(target) ? "predictions.against" : "predictions.for";
      setText(side, t(turned, { label: nameOf(target.of) }));
      offerRivals(result, target);
    }
    unsure.hidden = !result.unsure;
    const count = model.classes.toLocaleString();
    setText(unsure, result.unsure ? t("predictions.unsure", { count }) : "");
    const { few_labels: labels } = model;
    const known = { count: labels.length, labels: list(labels.map(nameOf)) };
    setText(few, labels.length && !isValued(model) ? t("predictions.few", known) : "");
    setText(
      time,
      t("time", { device: result.model.device, seconds: milliseconds(result.seconds) }),
    );
  });
  return el(
    "div",
    { class: "sidebar-predictions" },
    el("h2", {}, t("predictions.title"), " ", asking),
    rows,
    kind,
    other,
    side,
    against,
    unsure,
    few,
    tools,
    time,
  );
}
