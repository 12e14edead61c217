// Any class of the model can be explained, not only the likeliest: a search over all their names.

import { nameOf } from "../base/class_names.js";
import { el, replace } from "../base/dom.js";
import { t } from "../base/words.js";
import { readLabels } from "../server/requests.js";

const OFFERED = 40;
// "not cat" is what speaks against cat.
const AGAINST = /^(?:not\s+|非\s*)/i;

/** @param {Pick<Context, "store" | "actions">} context */
export function createClassSearch({ store, actions }) {
  const list = el("datalist", { id: "vx-classes" });
  const input = el("input", {
    id: "vx-class",
    list: list.id,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: t("classes.hint"),
    "aria-label": t("classes.label"),
    oninput: take,
  });
  const search = async (event) => {
    event.preventDefault();
    await named;
    const [first] = matching();
    if (first) choose(first);
    else actions.fail(t("classes.none", { words: input.value.trim() }));
  };
  const node = el("form", { class: "class-search", hidden: true, onsubmit: search }, input, list);
  let classes = [];
  let model = "";
  let named = Promise.resolve(); // once the names are here

  /** Classes whose name holds what was typed: the same first, then those that begin so. */
  function matching() {
    const words = input.value.trim().toLowerCase();
    const found = called(words);
    const other = AGAINST.exec(words);
    if (found.length || !other) return found;
    return called(words.slice(other[0].length)).map(({ index, label, name }) => ({
      index: `not ${index}`,
      label,
      name: `${other[0]}${name}`,
    }));
  }

  function called(words) {
    if (!words) return [];
    const rankIn = (text) => {
      const at = text.toLowerCase().indexOf(words);
      if (at < 0) return Infinity;
      return at === 0 ? (text.length === words.length ? 0 : 1) : 2;
    };
    // In Chinese the model's own label is found too.
    const rank = ({ name, own }) => Math.min(rankIn(name), rankIn(own));
    const found = [0, 1, 2].map(() => []);
    for (const each of classes) found[rank(each)]?.push(each);
    return found.flat();
  }

  /** @param {Prediction} prediction */
  function choose({ index, label }) {
    input.value = "";
    replace(list);
    actions.explainTarget(index, label);
  }

  function take(event) {
    const [first] = matching();
    const exact = first?.name.toLowerCase() === input.value.trim().toLowerCase();
    const typed = event.inputType && event.inputType !== "insertReplacementText";
    if (exact && !typed) choose(first);
    else offer();
  }

  function offer() {
    replace(
      list,
      matching()
        .slice(0, OFFERED)
        .map(({ name }) => el("option", { value: name })),
    );
  }

  /** @param {Model} model */
  async function load({ key, labels }) {
    model = key;
    node.hidden = !labels;
    classes = [];
    if (!labels) return;
    const names = await readLabels(labels, key);
    if (model !== key) return;
    const seen = new Set();
    classes = names.map((label, index) => {
      // Two classes of ImageNet are called "crane".
      const known = nameOf(label);
      const name = seen.has(label) ? `${known} (${index})` : known;
      seen.add(label);
      return { index, label: known, name, own: label };
    });
    offer(); // what was typed before the names were here
  }

  store.on(["result"], ({ result }) => {
    if (model === result.model.key) return;
    named = load(result.model).catch(() => {
      model = "";
    });
  });
  return node;
}
