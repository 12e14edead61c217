// What a model has not, and what is shown instead: the server says which of a view's needs it is.

import { el, replace, setText } from "./dom.js";
import { list, said, t } from "./words.js";

// Where there is something to see of every model.
const ELSEWHERE = ["explain", "whatif", "compare", "model"];

/** The need of a tab that a result's model does not meet, null where it can be shown. */
export const lackOfTab = ({ result }, tab) => result?.model.tabs[tab] ?? null;

/** The need of a method, of those in the setup, that a model does not meet, or null. */
export const lackOfMethod = (model, { needs }) =>
  needs.find((need) => model.lacks.includes(need)) ?? null;

export const lacks = ({ model }, need) => model.lacks.includes(need);

/** Why a model has not what is needed, as one sentence. */
export const whyNot = (model, need) =>
  t(`need.${need}`, { model: model.name, reason: model.reason ? said(model.reason) : "" });

/** A card in a view's place: why it can't be shown, and what can. */
export function createLack({ store }) {
  const title = el("h3");
  const why = el("p");
  const links = el("p", { class: "lack-links" });
  const node = el(
    "section",
    { class: "card empty lack", hidden: true },
    title,
    why,
    el("p", { class: "caption" }, t("need.instead")),
    links,
  );
  replace(
    links,
    ELSEWHERE.map((tab) =>
      el("button", { type: "button", onclick: () => store.set({ tab, hover: null }) }, t(`tab.${tab}`)),
    ),
  );

  function draw({ tab, result }, missing) {
    node.hidden = !missing;
    if (!missing) return;
    setText(title, t("need.title", { view: t(`tab.${tab}`) }));
    setText(why, whyNot(result.model, missing));
  }
  return { node, draw };
}

/** Chosen methods that a model does not allow, those with the same reason together. */
export function describeLeftOut(model, methods) {
  const byNeed = Map.groupBy(methods, (method) => lackOfMethod(model, method));
  return [...byNeed].map(([need, some]) =>
    t("explain.skipped", {
      titles: list(some.map(({ name }) => t(`method.${name}.title`))),
      why: whyNot(model, need),
    }),
  );
}
