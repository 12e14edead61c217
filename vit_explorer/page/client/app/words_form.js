// Classes in the reader's own words, for a model with a text tower: a sentence a line.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { loadFiles } from "../server/requests.js";

const LINES = 3;

/** @param {Pick<Context, "store" | "actions">} context */
export function createWordsForm({ store, actions }) {
  const input = el("textarea", { id: "vx-words", rows: String(LINES), spellcheck: "false" });
  const says = el("p", { class: "note", role: "status" });
  const ask = el("button", {}, t("words.ask"));
  const node = el(
    "form",
    { class: "words-form", hidden: true, onsubmit: submit },
    el("label", { class: "field" }, el("span", {}, t("words.label")), input),
    el("p", { class: "note" }, t("words.help")),
    el("div", { class: "picture-actions" }, ask),
    says,
  );
  let shown = "";

  async function submit(event) {
    event.preventDefault();
    const words = input.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!words.length) {
      actions.fail(t("words.none"));
      return;
    }
    ask.disabled = true;
    setText(says, t("words.reading"));
    const { model } = store.get().result;
    try {
      const name = await loadFiles({ architecture: model.id, words }, new AbortController().signal);
      if (store.get().result.model.key === model.key) actions.explainModel(name);
    } catch (error) {
      actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
    } finally {
      ask.disabled = false;
      setText(says, "");
    }
  }

  store.on(["result"], ({ result: { model } }) => {
    node.hidden = !model.reads_words;
    // What the reader is typing stays until other words have been asked.
    if (shown !== model.key) input.value = model.few_labels.join("\n");
    shown = model.key;
  });
  return node;
}
