// What is shown in place of a view that a model has nothing for.

import { el, replace, setText } from "../base/dom.js";
import { whyNot } from "../base/lacks.js";
import { t } from "../base/words.js";

// Where there is something to see of every model.
const ELSEWHERE = ["explain", "whatif", "compare", "model"];

/**
 * A card in a view's place: why it can't be shown, and what can.
 * @param {Context} context
 */
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

  /** @param {State} state */
  function draw({ tab, result }, missing) {
    node.hidden = !missing;
    if (!missing) return;
    setText(title, t("need.title", { view: t(`tab.${tab}`) }));
    setText(why, whyNot(result.model, missing));
  }
  return { node, draw };
}
