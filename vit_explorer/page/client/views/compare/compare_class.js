// Another class beside the one that is explained, and what their maps differ in.

import { nameOf } from "../../base/class_names.js";
import { el, replace } from "../../base/dom.js";
import { targetName } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { readLabels } from "../../server/requests.js";
import { seenThrough, withChanges } from "../../state/store.js";

/** Whether two classes are compared, of one picture and model. @param {State} state */
export const ofClasses = ({ otherWanted }) => otherWanted?.kind === "class";

/**
 * The two classes' names. @param {State} state
 * @returns {{ first: string, second: string }}
 */
export const classesOf = ({ result, other }) => ({
  first: targetName(result.target),
  second: targetName(other.result.target),
});

/**
 * What a map says more for the first class than for the second, patch by patch; null where one is missing or
 * the method knows no classes.
 * @param {Heatmap | undefined} one
 * @param {Heatmap | undefined} two
 */
export function differenceOf(one, two) {
  if (!one?.class_specific || !two || one.values.length !== two.values.length) return null;
  const values = Float32Array.from(one.values, (value, at) => value - two.values[at]);
  const most = values.reduce((high, value) => Math.max(high, Math.abs(value)), 0) || 1;
  return { ...one, values, signed: true, limits: /** @type {Pair} */ ([-most, most]) };
}

/**
 * The store as the difference sees it: the first result, with the two classes' differences as its maps.
 * @param {Store} store
 */
export function differenceStore(store) {
  let held = { key: [], result: null };

  /** @param {State} state */
  function see(state) {
    const { result, other } = state;
    if (!result || !other || !ofClasses(state)) return withChanges(state, { result: null });
    const key = [result, other.result];
    if (!key.every((one, at) => one === held.key[at])) {
      const maps = result.maps.flatMap((one) => {
        const found = differenceOf(one, other.result.maps.find(({ name }) => name === one.name));
        return found ? [found] : [];
      });
      held = { key, result: { ...result, maps, predictions: [] } };
    }
    return withChanges(state, { result: held.result });
  }
  return seenThrough(store, see);
}

/**
 * A menu of the classes, the predictions first.
 * @param {Pick<Context, "store" | "actions">} context
 */
export function createClassMenu({ store, actions }) {
  const select = el("select", { id: "vx-other-class", onchange: choose });
  const node = el("label", { class: "tool" }, t("compare.class"), " ", select);
  let listed = null;

  function choose() {
    if (select.value) actions.other.want("class", select.value, select.selectedOptions[0].textContent);
  }

  /** @param {Result} result */
  function list({ model, predictions, target }, names) {
    const option = (index, label) => el("option", { value: String(index) }, nameOf(label));
    const likely = predictions.map(({ index, label }) => option(index, label));
    const shown = new Set([...predictions.map(({ index }) => index), target?.index]);
    const rest = names
      .map((label, index) => ({ label: nameOf(label), index }))
      .filter(({ index }) => !shown.has(index))
      .sort((one, other) => one.label.localeCompare(other.label));
    replace(
      select,
      el("option", { value: "" }, t("compare.class.choose")),
      el("optgroup", { label: t("predictions.title") }, likely),
      rest.length ? el("optgroup", { label: t("compare.class.others") }, rest.map(({ label, index }) => option(index, label))) : null,
    );
    select.disabled = !target || model.classes < 2;
    choice(store.get());
  }

  /** @param {State} state */
  function choice({ otherWanted, result }) {
    const wanted = otherWanted?.kind === "class" ? otherWanted.name : "";
    if (select.value !== wanted) select.value = wanted;
    for (const one of select.options) one.disabled = one.value === String(result.target?.name);
  }

  /** @param {State} state */
  function show(state) {
    const { result } = state;
    if (listed !== result) {
      listed = result;
      list(result, []);
      if (result.model.labels)
        readLabels(result.model.labels, result.model.key)
          .then((names) => listed === result && list(result, names))
          .catch(() => {}); // the likely ones are there all the same
    }
    choice(state);
  }
  return { node, show };
}
