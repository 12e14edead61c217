// How many classes the model knows, and all of them on demand, each to be explained.

import { nameOf } from "../base/class_names.js";
import { el, replace, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { readLabels } from "../server/requests.js";

/** @param {Pick<Context, "store" | "actions">} context */
export function createClassList({ store, actions }) {
  const count = el("summary");
  const names = el("div", { class: "class-names", role: "group" });
  const node = el("details", { class: "class-list", hidden: true, ontoggle: fill }, count, names);
  let shown = "";

  async function fill() {
    const { model } = store.get().result;
    if (!node.open || shown === model.key) return;
    try {
      const labels = await readLabels(model.labels, model.key);
      if (store.get().result.model.key !== model.key) return;
      shown = model.key;
      replace(
        names,
        labels.map((label, index) => button(index, nameOf(label))),
      );
    } catch {
      actions.fail(t("state.offline"));
    }
  }

  function button(index, name) {
    return el("button", { type: "button", onclick: () => actions.explainTarget(index, name) }, name);
  }

  store.on(["result"], ({ result: { model } }) => {
    node.hidden = !model.labels || model.few_labels.length > 0;
    setText(count, t("predictions.knows", { count: model.classes.toLocaleString() }));
    names.setAttribute("aria-label", count.textContent);
    if (shown !== model.key) replace(names);
    fill();
  });
  return node;
}
