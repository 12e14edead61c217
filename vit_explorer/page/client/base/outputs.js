// What a model's numbers are, as people read them: probabilities as percentages, values as numbers.

import { nameOf } from "./class_names.js";
import { percent, short } from "./format.js";
import { t } from "./words.js";

/** @param {Model} model */
export const isValued = ({ outputs }) => outputs === "value";

/**
 * How the numbers of a model's curves and rows are written.
 * @param {Model} model
 */
export const writerOf = (model) => (isValued(model) ? short : percent);

/**
 * What curves and rows hold of a prediction: its probability, or its value.
 * @param {Prediction} prediction
 */
export const numberOf = ({ probability, score }) => probability ?? score;

/**
 * That number in words.
 * @param {Prediction} prediction
 */
export const told = ({ probability, score }) =>
  probability === null ? short(score) : percent(probability);

/**
 * Whether a class itself is explained.
 * @param {Target} target
 */
export const isPlain = ({ negated, rather }) => !negated && !rather;

/**
 * What is explained, in the reader's language: a class, what speaks against it, or for it rather than
 * for another.
 * @param {Target} target
 */
export function targetName({ negated, of, rather, label }) {
  if (negated) return t("target.not", { label: nameOf(of) });
  return rather ? t("target.rather", { label: nameOf(of), other: nameOf(rather.label) }) : nameOf(label);
}

/**
 * What the key of a sentence about probabilities ends in for its twin about values.
 * @param {Model} model
 */
export const twinOf = (model) => (isValued(model) ? ".value" : "");
