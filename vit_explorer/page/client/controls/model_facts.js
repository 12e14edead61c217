// What was detected in a model, in words: one line for the header, and a term and its value a line.

import { nameOf } from "../base/class_names.js";
import { percent } from "../base/format.js";
import { list, said, sentences, t } from "../base/words.js";
import { prefixName } from "../maps/geometry.js";
import { leftOver, ownValues, pixelKind } from "./channels.js";

const POSITIONS = {
  learned: "learned",
  "learned 2-D": "learned2d",
  "sin-cos": "sincos",
  rotary: "rotary",
  relative: "relative",
  fixed: "fixed",
  no: "no",
};
const by = ([high, wide]) => `${high}×${wide}`;

/** Pixels of a picture or patch; which side comes first is said where they differ. */
export const pixelSize = (size) =>
  t(size[0] === size[1] ? "fact.size" : "fact.size.oblong", { size: by(size) });

// Others that timm knows are called as timm calls them.
const POOLINGS = { class: "class", mean: "mean", attention: "attention", none: "none", "class + mean": "both" };

/**
 * From which tokens a model's answer is read.
 * @param {Model} model
 */
export function poolingName({ pooling, two_heads: two }) {
  if (two) return t("pooling.two");
  return pooling in POOLINGS ? t(`pooling.${POOLINGS[pooling]}`) : pooling;
}

/** The kind of position embedding, or several. */
export function positionName(position) {
  const names = position.split(" + ");
  return names.map((name) => t(`position.${POSITIONS[name]}`)).join(" + ");
}

/** @param {Model} model */
export function summary(model) {
  const { image, prefix } = model;
  const size = image[0] === image[1] ? image[0] : by(image);
  if (model.tier === 2)
    return t("summary.stages", {
      pixels: t(`summary.pixels.${pixelKind(model)}`, { channels: model.channels, size }),
      grid: by(model.grid),
      count: model.stages.length,
      device: model.device,
    });
  const registers = prefix.filter((name) => name.startsWith("register"));
  const names = prefix.filter((name) => !registers.includes(name)).map(prefixName);
  if (registers.length) names.push(t("summary.registers", { count: registers.length }));
  return t("summary.line", {
    pixels: t(`summary.pixels.${pixelKind(model)}`, { channels: model.channels, size }),
    grid: by(model.grid),
    depth: model.depth,
    heads: model.heads,
    prefix: names.join(" + ") || t("summary.prefix.none"),
    position: positionName(model.position),
    device: model.device,
  });
}

function calibrated({ temperature, pictures }) {
  const values = { temperature: temperature.toFixed(2), pictures: pictures.toLocaleString() };
  return t("fact.calibration.value", values);
}

/**
 * Of a model whose patches are the cells of its last stage.
 * @param {Model} model
 */
function stageFacts(model) {
  const cell = model.grid.map((count, axis) => Number((model.image[axis] / count).toFixed(2)));
  return {
    tier: t("fact.tier.value", { reason: said(model.reason) }),
    stages: list(model.stages.map(({ name, grid }) => `${name} ${by(grid)}`)),
    cells: t("fact.patches.value", { grid: by(model.grid), size: pixelSize(cell) }),
    features: model.dim,
  };
}

/** @param {Model} model */
function tokenFacts(model) {
  return {
    patches: t("fact.patches.value", { grid: by(model.grid), size: pixelSize(model.patch) }),
    left: leftOver(model),
    prefix: list(model.prefix.map(prefixName)) || t("fact.prefix.none"),
    order: model.own_order ? t("fact.order.value") : "",
    tokens: model.tokens.toLocaleString(),
    layers: model.depth,
    // Where the softmax alone was seen, the width of a head was not.
    heads:
      model.attends === "written"
        ? model.heads
        : t("fact.heads.value", { heads: model.heads, width: model.head_width }),
    dim: model.dim,
    position: positionName(model.position),
  };
}

/** @param {Model} model */
export function facts(model) {
  const { accuracy, calibration, classes, measured } = model;
  const numbers = (values) => values.map((value) => value.toFixed(3)).join(", ");
  const staged = model.tier === 2;
  const kept = { how: model.interpolation, share: percent(model.crop) };
  const known = !ownValues(model);
  const lines = {
    source: said(model.source),
    weights: sentences(...model.weights_notes.map(said)),
    trained: said(model.trained_on),
    accuracy: accuracy === null ? "" : t(`fact.accuracy.${measured}`, { share: percent(accuracy) }),
    calibration: calibration ? calibrated(calibration) : "",
    parameters: model.parameters.toLocaleString(),
    device: model.device,
    picture: pixelSize(model.image),
    channels: model.channels === 3 ? "" : t(`fact.channels.value.${pixelKind(model)}`, model),
    ...(staged ? stageFacts(model) : tokenFacts(model)),
    pooling: classes && !staged ? poolingName(model) : "",
    outputs: t(`outputs.${model.outputs}`),
    outputs_found: said(model.outputs_found),
    ends_in: model.ends_in ? t("fact.ends_in.value", { name: model.ends_in }) : "",
    classes: model.few_labels.length
      ? `${classes}: ${list(model.few_labels.map(nameOf))}`
      : classes.toLocaleString(),
    labels: said(model.labels_source),
    mean: known ? sentences(numbers(model.mean), model.means_of_three && t("fact.mean.three")) : "",
    std: known ? sentences(numbers(model.std), model.means_of_three && t("fact.mean.three")) : "",
    resizing: model.own_transform ? t("fact.resizing.own") : t("fact.resizing.value", kept),
  };
  return Object.entries(lines)
    .filter(([, value]) => value !== "")
    .map(([key, value]) => [t(`fact.${key}`), String(value)]);
}
