// The picture, ways to bring another, and the predictions: what never leaves the screen.

import { openCamera } from "./camera.js";
import { createClassSearch } from "./class_search.js";
import { el, fitCanvas, replace, setText } from "./dom.js";
import { milliseconds, percent } from "./format.js";
import { cropIn } from "./picture.js";
import { t } from "./words.js";

const SHOWN = 5; // As many predictions as the server sends.

export function createSidebar({ store, setup, actions }) {
  const picture = createPicture(store);
  const predictions = createPredictions(store, actions, createClassSearch({ store, actions }));
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
  const examples = el(
    "div",
    { class: "examples", role: "group", "aria-label": t("picture.examples") },
    setup.examples.map(({ name, url }) =>
      el(
        "button",
        {
          type: "button",
          title: name,
          "aria-label": t("picture.example", { name }),
          onclick: () => actions.explainExample(name),
        },
        el("img", { src: url, alt: "", width: "56", height: "42" }),
      ),
    ),
  );
  return el(
    "aside",
    { class: "sidebar", "aria-label": t("sidebar") },
    el("div", { class: "sidebar-picture" }, picture, buttons, examples),
    predictions,
  );
}

function createPicture(store) {
  const canvas = el("canvas", { class: "picture", role: "img" });
  const caption = el("p", { class: "note" });
  new ResizeObserver(() => draw(store.get())).observe(canvas);

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
      how: t("picture.how"),
    };
    setText(caption, t("picture.says", values));
  }

  store.on(["result", "image"], draw);
  return el("div", {}, canvas, caption);
}

function createPredictions(store, actions, search) {
  const list = el(
    "div",
    { class: "predictions", role: "group", "aria-label": t("predictions.title") },
    Array.from({ length: SHOWN }, () => el("div", { class: "bone" })),
  );
  const other = el("p", { class: "note" });
  const few = el("p", { class: "note few-classes" });
  const time = el("p", { class: "note time" });
  const hint = el("small", {}, t("predictions.hint"));

  function row({ index, label, probability }, target) {
    const share = percent(probability);
    const bar = el("span", { class: "share-bar" });
    bar.style.setProperty("--share", String(probability));
    return el(
      "button",
      {
        type: "button",
        "aria-pressed": String(index === target?.index),
        dataset: { index: String(index) },
        onclick: () => actions.explainTarget(index, label),
      },
      el("span", { class: "label" }, label),
      el("span", { class: "share" }, share),
      bar,
    );
  }

  store.on(["result"], ({ result }) => {
    const focused = list.contains(document.activeElement)
      ? document.activeElement.dataset.index
      : null;
    const { target } = result;
    replace(
      list,
      result.predictions.map((prediction) => row(prediction, target)),
    );
    list.querySelector(`[data-index="${focused}"]`)?.focus();
    const listed = result.predictions.some(({ index }) => index === target?.index);
    hint.hidden = !target;
    if (!target) setText(other, t("predictions.none"));
    else
      setText(
        other,
        listed
          ? ""
          : t("predictions.other", { label: target.label, share: percent(target.probability) }),
      );
    const { few_labels: labels } = result.model;
    const known = { count: labels.length, labels: labels.join(", ") };
    setText(few, labels.length ? t("predictions.few", known) : "");
    setText(
      time,
      t("time", { device: result.model.device, seconds: milliseconds(result.seconds) }),
    );
  });
  return el(
    "div",
    { class: "sidebar-predictions" },
    el("h2", {}, t("predictions.title"), " ", hint),
    list,
    other,
    few,
    search,
    time,
  );
}
