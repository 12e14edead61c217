// What is shown, in the address: a reload, or a link someone else opens, shows the same.

import { browserLanguage, isLanguage, list, sentences, t } from "../base/words.js";
import { isColormap } from "../maps/colours.js";
import { cellOf, startToken, tokenAt } from "../maps/geometry.js";
import { counted } from "./link_entries.js";
import { START } from "./state.js";

// The address is written once a change has come to rest: browsers refuse too many writes.
const REST = 250;
// The key under which the server holds a picture that was sent to it.
const MODEL = /^[\w:./-]{1,120}$/;
const SENT = /^[0-9a-f]{64}$/;
// As much of a text that is not understood as a message shows.
const LONGEST = 60;

/**
 * What of the store goes into a link: under which `name`, `write`n as text (null where it is what
 * the page starts with) and `read` back for a result, null where the text is not understood. What
 * is a `setting` stays as the reader has it where a link doesn't name it. Here is what views share.
 * @type {LinkEntry[]}
 */
const KEPT = [
  {
    name: "layer",
    keys: ["layer"],
    write: ({ layer, result }) => (layer === result.model.depth - 1 ? null : layer + 1),
    read: (text, { model }) => {
      const layer = counted(text, model.depth);
      return layer === null ? null : { layer };
    },
  },
  {
    name: "head",
    keys: ["head"],
    write: ({ head }) => (head === "mean" ? null : head === "max" ? head : head + 1),
    read: (text, { model }) => {
      const head = text === "max" ? text : counted(text, model.heads);
      return head === null ? null : { head };
    },
  },
  {
    name: "patch",
    keys: ["pinned"],
    write: ({ pinned, result: { model } }) => {
      if (pinned === startToken(model)) return null;
      const cell = cellOf(model, pinned);
      return cell ? cell.map((place) => place + 1).join(",") : `token${pinned + 1}`;
    },
    read: (text, { model }) => {
      const prefix = counted(text.replace(/^token/, ""), model.prefix.length);
      if (text.startsWith("token")) return prefix === null ? null : { pinned: prefix };
      const [row, column] = text.split(",").map((part, axis) => counted(part, model.grid[axis] ?? 0));
      return Number.isInteger(row) && Number.isInteger(column)
        ? { pinned: tokenAt(model, row, column) }
        : null;
    },
  },
  {
    name: "colours",
    keys: ["colormap"],
    setting: true,
    write: ({ colormap }) => (colormap === START.colormap ? null : colormap),
    read: (text) => (isColormap(text) ? { colormap: text } : null),
  },
  {
    name: "opacity",
    keys: ["opacity"],
    setting: true,
    write: ({ opacity }) => (opacity === START.opacity ? null : String(Math.round(opacity * 100))),
    read: (text) => (/^(100|\d{1,2})$/.test(text) ? { opacity: Number(text) / 100 } : null),
  },
  .../** @type {("smooth" | "whole" | "shared")[]} */ (["smooth", "whole", "shared"]).map((key) => ({
    name: key,
    keys: [key],
    setting: true,
    write: (state) => (state[key] === START[key] ? null : String(Number(state[key]))),
    read: (text) => (/^[01]$/.test(text) ? { [key]: text === "1" } : null),
  })),
];

/**
 * Add what single views put into a link.
 * @param {LinkEntry[]} entries
 */
export const addLinks = (entries) => KEPT.push(...entries);

/**
 * The tab, the language, whichever of model, example picture and target can be asked for, and as
 * `linked` the texts of all else that an address names.
 * @param {Setup} setup
 */
export function readPlace(tabs, setup) {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  const linked = Object.fromEntries(new URLSearchParams(query));
  const place = {};
  /** What is understood is none of the texts that remain. */
  const take = (name, value) => {
    if (value === null) return;
    delete linked[name];
    place[name] = value;
  };
  const { model = "", picture = "", target = "" } = linked;
  // The server says what it doesn't know, and the page goes on with the model that it opened with.
  take("model", MODEL.test(model) ? model : null);
  const example = setup.examples.some(({ name }) => name === picture);
  take("picture", example || SENT.test(picture) ? picture : null);
  const aim = /^(not )?\d{1,6}$|^\d{1,6} - \d{1,6}$/.test(target);
  take("target", aim ? (/^\d+$/.test(target) ? Number(target) : target) : null);
  take("lang", isLanguage(linked.lang) ? linked.lang : null);
  const { lang: language = "", ...asked } = place;
  const known = tabs.includes(tab);
  if (tab && !known) linked.view = tab;
  return { tab: known ? tab : "explain", place: asked, language, linked };
}

/**
 * What a link chose, as far as the result has it; the rest is told after whatever else went wrong.
 * @param {Record<string, string>} linked
 * @param {Result} result
 */
export function choicesOf(linked, result, problem = "") {
  const choices = {};
  const left = [];
  for (const [name, text] of Object.entries(linked)) {
    const found = KEPT.find((entry) => entry.name === name)?.read(text, result) ?? null;
    if (found) Object.assign(choices, found);
    else left.push(t("link.part", { name, text: text.slice(0, LONGEST) }));
  }
  const told = left.length ? t("link.unread", { parts: list(left) }) : "";
  return { ...choices, problem: sentences(problem, told) };
}

/**
 * The part of the address after the #. A picture that was sent is in it by its key, which is its
 * bytes' hash: whoever has the address, and may open the page, sees it while the server keeps it.
 * @param {State} state
 * @param {Setup} setup
 */
export function placeOf(state, setup) {
  const { tab, result, language } = state;
  const { model, picture, target } = result.place;
  const named = new URLSearchParams();
  const example = setup.examples.findIndex(({ name }) => name === picture);
  if (model !== setup.model) named.set("model", model);
  const sent = example < 0 && SENT.test(picture);
  if (example > 0 || sent) named.set("picture", picture);
  if ((example >= 0 || sent) && target !== null) named.set("target", String(target));
  for (const { name, write } of KEPT) {
    const text = write(state);
    if (text !== null) named.set(name, String(text));
  }
  const spoken = language || browserLanguage();
  if (spoken !== "en" || browserLanguage() !== "en") named.set("lang", spoken);
  return `#${tab}${named.size ? `?${named}` : ""}`;
}

/**
 * Turn to another view of the same choices, from which the browser's Back returns.
 * @param {Store} store
 * @param {string} tab
 * @param {Partial<State>} [changes]
 */
export function openTab(store, tab, changes = {}) {
  // The address is the tab's alone: one from elsewhere would begin anew.
  if (store.get().tab !== tab) history.pushState({ explorer: true }, "", `#${tab}`);
  store.set({ tab, hover: null, ...changes });
}

/**
 * The layer and the token that a model is first shown with.
 * @param {Model} model
 */
export const beginningOf = (model) => ({ pinned: startToken(model), layer: model.depth - 1 });

/**
 * What a link starts from: all that it may name, as the page has it at first, but for settings.
 * @param {Result} result
 */
function plainOf({ model }) {
  const keys = KEPT.filter(({ setting }) => !setting).flatMap(({ keys: names }) => names);
  const plain = Object.fromEntries(keys.map((key) => [key, START[key]]));
  return { ...plain, ...beginningOf(model), epochWanted: Infinity }; // a film's last epoch
}

/**
 * Follow the store; an address typed by hand or opened from a link is given to `onPlace`.
 * @param {Store} store
 * @param {Setup} setup
 */
export function keepPlace(store, tabs, setup, onPlace) {
  let resting = 0;
  const write = () => {
    const state = store.get();
    if (!state.result) return;
    history.replaceState({ ...history.state, explorer: true }, "", placeOf(state, setup));
  };
  store.on(["tab", "result", "language", "film"], write);
  store.on(
    KEPT.flatMap(({ keys }) => keys),
    () => {
      clearTimeout(resting);
      resting = setTimeout(write, REST);
    },
  );
  window.addEventListener("hashchange", () => {
    const { tab, place, language, linked } = readPlace(tabs, setup);
    store.set({ tab });
    // Going back leads to an address of our own, which must not bring back an earlier picture.
    if (history.state?.explorer) return;
    if (language) store.set({ language });
    const { result } = store.get();
    const first = { model: setup.model, picture: setup.examples[0].name, target: null };
    const wanted = { ...first, ...place };
    if (result) store.set(plainOf(result));
    const same = result && Object.keys(first).every((key) => wanted[key] === result.place[key]);
    if (same) store.set(choicesOf(linked, result));
    else {
      store.set({ linked });
      onPlace(wanted);
    }
  });
}
