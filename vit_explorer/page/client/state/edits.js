// What was taken away, with undo and redo. An edit is never changed in place: views compare it.

import { lacks } from "../base/lacks.js";
import { patchCount } from "../maps/geometry.js";

const KEPT = 200;

const sorted = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);
export const isPlain = ({ patches, heads }) => !patches.length && !heads.length;
export const editKey = ({ patches, heads, how }) => JSON.stringify([patches, heads, how]);

/**
 * Heads are numbered layer by layer, as one number each.
 * @param {any} values
 * @param {number} layer
 */
export const headNumber = ({ heads }, layer, head) => layer * heads + head;
export const layerAndHead = ({ heads }, number) => [Math.floor(number / heads), number % heads];

/**
 * Change the edit; `joined` makes it one step with the change before, as along one stroke.
 * @param {Store} store
 */
export function change(store, changes, { joined = false } = {}) {
  const { edit, editPast } = store.get();
  const next = { ...edit, ...changes };
  next.patches = sorted(next.patches);
  next.heads = sorted(next.heads);
  if (editKey(next) === editKey(edit)) return false;
  const past = joined ? editPast : [...editPast, edit].slice(-KEPT);
  store.set({ edit: next, editPast: past, editFuture: [] });
  return true;
}

/** @param {Store} store */
export function undo(store) {
  const { edit, editPast, editFuture } = store.get();
  if (!editPast.length) return;
  store.set({
    edit: editPast.at(-1),
    editPast: editPast.slice(0, -1),
    editFuture: [edit, ...editFuture],
  });
}

/** @param {Store} store */
export function redo(store) {
  const { edit, editPast, editFuture } = store.get();
  if (!editFuture.length) return;
  store.set({
    edit: editFuture[0],
    editPast: [...editPast, edit],
    editFuture: editFuture.slice(1),
  });
}

/** @param {Store} store */
export const reset = (store) => change(store, { patches: [], heads: [] });

/**
 * Heads stay off for another picture of the same model; patches come back with another picture.
 * @param {Store} store
 */
export function keepEdit(store) {
  store.on(["result"], ({ result, edit, editOf }) => {
    if (!result) return;
    const { model, pass } = result;
    const [ofModel, ofPass] = editOf;
    if (ofModel === model.key && ofPass === pass) return;
    const alike = !ofModel || ofModel === model.key;
    const same = !ofPass || ofPass === pass;
    const heads = alike ? edit.heads.filter((head) => head < model.depth * model.heads) : [];
    const patches = alike && same ? edit.patches.filter((at) => at < patchCount(model)) : [];
    const how = lacks(result, "tokens") ? "grey" : edit.how;
    store.set({
      edit: { ...edit, heads, patches, how },
      editOf: [model.key, pass],
      editPast: [],
      editFuture: [],
    });
  });
}

/** An edit as a short text for a link: "p3-7.12_h4_grey"; null for none. */
export function writeEdit({ patches, heads, how }) {
  const parts = [
    patches.length ? `p${writeNumbers(patches)}` : "",
    heads.length ? `h${writeNumbers(heads)}` : "",
    how === "grey" ? how : "",
  ];
  return parts.filter(Boolean).join("_") || null;
}

/**
 * What `writeEdit` wrote, as far as the model has it; null for anything else.
 * @param {Model} model
 */
export function readEdit(text, model) {
  const found = /^(?:p([\d.-]+))?_?(?:h([\d.-]+))?_?(grey)?$/.exec(text);
  if (!found) return null;
  const [, patches, heads, how = "drop"] = found;
  const [rows, columns] = model.grid;
  return {
    patches: readNumbers(patches, rows * columns),
    heads: readNumbers(heads, model.depth * model.heads),
    how: model.lacks.includes("tokens") ? "grey" : how,
  };
}

function writeNumbers(numbers) {
  const runs = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(".");
}

/** The numbers below `count` that are named. */
function readNumbers(text = "", count) {
  const runs = text.split(".").map((run) => run.split("-").map((end) => (end ? Number(end) : -1)));
  const named = Array.from({ length: count }, (_, number) => number);
  return named.filter((number) =>
    runs.some(([first, last = first]) => first >= 0 && number >= first && number <= last),
  );
}
