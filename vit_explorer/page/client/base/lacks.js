// What a model has not, in words: the server says which of a view's or a method's needs it is.

import { list, said, t } from "./words.js";

/**
 * The need of a tab that a result's model does not meet, null where it can be shown.
 * @param {State} state
 */
export const lackOfTab = ({ result }, tab) => result?.model.tabs[tab] ?? null;

/**
 * The need of a method, of those in the setup, that a model does not meet, or null.
 * @param {Model} model
 */
export const lackOfMethod = (model, { needs }) =>
  needs.find((need) => model.lacks.includes(need)) ?? null;

/** @param {Result} result */
export const lacks = ({ model }, need) => model.lacks.includes(need);

/**
 * Why a model has not what is needed, as one sentence.
 * @param {Model} model
 */
export const whyNot = (model, need) =>
  t(`need.${need}`, { model: model.name, reason: model.reason ? said(model.reason) : "" });

/**
 * Chosen methods that a model does not allow, those with the same reason together.
 * @param {Model} model
 */
export function describeLeftOut(model, methods) {
  const byNeed = Map.groupBy(methods, (method) => lackOfMethod(model, method));
  return [...byNeed].map(([need, some]) =>
    t("need.skipped", {
      titles: list(some.map(({ name }) => t(`method.${name}.title`))),
      why: whyNot(model, need),
    }),
  );
}
