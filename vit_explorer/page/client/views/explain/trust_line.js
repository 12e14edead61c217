// What a map is worth, in one line under it: whether it beats random maps and a blob in the middle.

import { el, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { analysesOf } from "../../state/analyses.js";
import { trustOf } from "../../state/trust.js";
import { openTrust, worthOf } from "./trust_dialog.js";

/** @param {Context} context */
export function createTrustLine(context, map) {
  const { store } = context;
  const { id, name } = map;
  const summary = el("p", { class: "caption" }, t(`method.${name}.summary`));
  const verdict = el("span", { class: "verdict" });
  const numbers = el("span", { class: "verdict-numbers" });
  const differs = el("span", { class: "verdict-differs" });
  const button = el(
    "button",
    {
      type: "button",
      class: "trust",
      hidden: true,
      title: t("explain.trust.open"),
      onclick: () => openTrust(context, trustOf(store.get()), id),
    },
    verdict,
    numbers,
    differs,
  );
  const node = el("div", { class: "trust-place" }, summary, button);

  /** @param {State} state */
  function draw(state) {
    const trust = trustOf(state);
    const score = trust?.maps[id];
    button.hidden = !score;
    summary.hidden = Boolean(score);
    if (!score) return;
    button.dataset.verdict = score.verdict;
    const short = t(`verdict.${score.verdict}`, { beats: score.beats, of: trust.of });
    setText(verdict, score.near ? t("explain.trust.near", { verdict: short }) : short);
    const worth = worthOf(state.result.model);
    const values = { insertion: worth(score.insertion), deletion: worth(score.deletion) };
    setText(numbers, t("explain.trust.numbers", values));
    numbers.title = t("explain.trust.numbers.title");
    const { differ } = analysesOf(state.result);
    const other = trust.protocol === "tokens" ? "pixels" : "tokens";
    setText(differs, differ[id] ? t(`explain.trust.differs.${other}`) : "");
  }
  return { node, draw };
}
