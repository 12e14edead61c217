// What a map is worth, in one line under it: whether it beats random maps and a blob in the middle.

import { el, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { analysesOf } from "../../state/analyses.js";
import { openTrust, worthOf } from "./trust_dialog.js";

/** @param {Context} context */
export function createTrustLine(context, map) {
  const { store } = context;
  const { id, name } = map;
  const summary = el("p", { class: "caption" }, t(`method.${name}.summary`));
  const verdict = el("span", { class: "verdict" });
  const numbers = el("span", { class: "verdict-numbers" });
  const button = el(
    "button",
    {
      type: "button",
      class: "trust",
      hidden: true,
      title: t("explain.trust.open"),
      onclick: () => openTrust(context, analysesOf(store.get().result).trust, id),
    },
    verdict,
    numbers,
  );
  const node = el("div", { class: "trust-place" }, summary, button);

  /** @param {State} state */
  function draw(state) {
    const { trust } = analysesOf(state.result);
    const score = trust?.maps[id];
    button.hidden = !score;
    summary.hidden = Boolean(score);
    if (!score) return;
    button.dataset.verdict = score.verdict;
    setText(verdict, t(`explain.trust.${score.verdict}`, { beats: score.beats, of: trust.of }));
    const worth = worthOf(state.result.model);
    const values = { insertion: worth(score.insertion), deletion: worth(score.deletion) };
    setText(numbers, t("explain.trust.numbers", values));
    numbers.title = t("explain.trust.numbers.title");
  }
  return { node, draw };
}
