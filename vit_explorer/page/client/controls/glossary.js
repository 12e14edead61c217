// Words of the trade, said in plain ones; folded away until asked for.

import { el } from "../base/dom.js";
import { t } from "../base/words.js";

export function createGlossary(words) {
  const lines = words.map((word) => [
    el("dt", {}, t(`glossary.${word}`)),
    el("dd", {}, t(`glossary.${word}.text`)),
  ]);
  return el(
    "details",
    { class: "glossary" },
    el("summary", {}, t("glossary")),
    el("dl", {}, lines.flat()),
  );
}
