// One probe picture of a training film: its rollout at an epoch, and the likeliest classes.

import { nameOf } from "../../base/class_names.js";
import { el, fitCanvas, keepSize, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createShareBar, setShare } from "../../charts/share_bar.js";
import { manner } from "../../maps/colours.js";
import { overlay } from "../../maps/pixels.js";
import { rgbImage } from "../../state/film.js";

const CLASSES = 3;
// All pictures are drawn anew at every move of the scrubber; what they lack to more is not seen.
const ENOUGH = 192;

export function createProbe({ store, film, index }) {
  const name = film.names[index];
  const picture = createPixels(film, index);
  const canvas = el("canvas", { role: "img", "aria-label": t("training.film.probe", { name }) });
  const rows = Array.from({ length: Math.min(CLASSES, film.labels.length) }, createRow);
  const button = el(
    "button",
    {
      type: "button",
      class: "probe",
      dataset: { probe: String(index) },
      onclick: () => store.set({ probe: index }),
    },
    canvas,
    el("span", { class: "probe-name" }, name),
    rows.map((row) => row.node),
  );
  const [, high, wide] = film.shapes.probes;
  const sharpest = Math.max(wide, ENOUGH);
  canvas.style.setProperty("--aspect", (wide / high).toFixed(4));
  const size = keepSize(canvas, () => paint(store.get()));

  /** @param {State} state */
  function paint(state) {
    if (state.film !== film || !size.width) return;
    const fine = Math.min(1, sharpest / size.width / window.devicePixelRatio);
    const [width, height] = fitCanvas(canvas, size.width * fine, size.height * fine);
    const values = film.at("rollout", state.frame, index);
    const how = manner(state, { limits: film.rolloutLimits });
    const image = overlay(picture.at(width, height), values, film.grid, how);
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** @param {State} state */
  function draw(state) {
    button.setAttribute("aria-pressed", String(state.probe === index));
    film.top(state.frame, index, CLASSES).forEach((prediction, place) => {
      rows[place].show(prediction);
    });
    paint(state);
  }
  return { node: button, draw };
}

function createRow() {
  const label = el("span", { class: "label" });
  const share = el("span", { class: "share" });
  const bar = createShareBar();
  const node = el("span", { class: "probe-class" }, label, share, bar);

  /** @param {Prediction} prediction */
  function show({ label: text, probability }) {
    setText(label, nameOf(text));
    setText(share, percent(probability));
    setShare(bar, probability);
  }
  return { node, show };
}

/**
 * The picture's pixels at a canvas's size, kept until that changes.
 * @param {import("../../state/film.js").Film} film
 */
function createPixels(film, index) {
  const [, high, wide] = film.shapes.probes;
  const small = new OffscreenCanvas(wide, high);
  small.getContext("2d").putImageData(rgbImage(film.at("probes", index), wide, high), 0, 0);
  let kept = null;

  /**
   * @param {number} width
   * @param {number} height
   */
  function at(width, height) {
    if (kept?.width === width && kept.height === height) return kept;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, width, height);
    kept = context.getImageData(0, 0, width, height);
    return kept;
  }
  return { at };
}
