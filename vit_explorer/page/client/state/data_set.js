// The data set of the Data view: opened, looked into and let go, whatever the view is doing.

import { address } from "../base/address.js";
import { t } from "../base/words.js";
import { linesOf } from "../server/jobs.js";
import { fetchPacked } from "../server/packed.js";
import { readHeldSet } from "../server/requests.js";
import { ANY, confusionOf, filtered, measuresOf, orderedPlaces, tableOf } from "./predictions.js";

/** Works out a thing once for each object that it is of. */
function once(make) {
  const held = new WeakMap();
  return (of) => {
    if (!held.has(of)) held.set(of, make(of));
    return held.get(of);
  };
}

/** @type {(table: PredictionTable) => Int32Array} */
export const confusion = once(confusionOf);
/** @type {(table: PredictionTable) => ReturnType<typeof measuresOf>} */
export const measures = once((table) => measuresOf(confusion(table), table.classes.length));
const orders = once((table) => ({
  mistakes: orderedPlaces(table, "mistakes"),
  unsure: orderedPlaces(table, "unsure"),
  data: orderedPlaces(table, "data"),
}));

/** The set that is open; what is drawn of one is drawn only then. @param {Pick<State, "dataSet">} state */
function setOf({ dataSet }) {
  if (!dataSet) throw new Error("no data set is open");
  return dataSet;
}

/** @type {{ key: any[], places: Int32Array }} */
let shown = { key: [], places: new Int32Array(0) };

/**
 * The pictures that the filters let through, in the chosen order; the same array until one changes.
 * @param {Pick<State, "dataSet" | "dataFilter" | "dataOrder">} state
 */
export function shownPlaces(state) {
  const { table } = setOf(state);
  const { dataFilter, dataOrder } = state;
  const key = [table, dataFilter, dataOrder];
  if (!key.every((one, at) => one === shown.key[at]))
    shown = { key, places: filtered(table, dataFilter, orders(table)[dataOrder]) };
  return shown.places;
}

/** The model that the set is looked into with: the one that predicted, else the one at hand. @param {State} state */
export const modelOfSet = (state) => setOf(state).model ?? state.result.model.id;

/** The address of a picture of a set, made small. */
export const thumbnailOf = ({ key }, place) => address(`data/${key}/pictures/${place}`);

let caller = new AbortController();

/** Hang up on what is being done. @param {Store} store */
export function stopDataJob(store) {
  caller.abort();
  store.set({ dataJob: null });
}

/**
 * Do one thing at a time, told as `dataJob`; the last line is handed to `done`.
 * @param {Pick<Context, "store" | "actions">} context
 * @param {"open" | "looks" | "points" | "queries" | "maps"} what
 * @param {string} path
 * @param {object} order
 * @param {(line: any) => Promise<void> | void} done
 * @param {(one: any) => void} [each] what is told before the end is handed to it
 */
async function work({ store, actions }, what, path, order, done, each = () => {}) {
  caller.abort();
  caller = new AbortController();
  const { signal } = caller;
  store.set({ dataJob: { what, done: 0, total: null } });
  try {
    for await (const line of linesOf(path, order, signal)) {
      if (line.total) store.set({ dataJob: { what, done: line.done, total: line.total } });
      else if (line.one) each(line.one);
      else if (line.set ?? line.view) await done(line.set ?? line.view);
      if (signal.aborted) return;
    }
    store.set({ dataJob: null });
  } catch (error) {
    if (signal.aborted) return;
    store.set({ dataJob: null });
    actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
  }
}

/** Open a data set in place of the one at hand. @param {Pick<Context, "store" | "actions">} context */
export const openSet = (context, order) =>
  work(context, "open", "data", order, async (info) => {
    const table = tableOf(await fetchPacked(address(`data/${info.key}/table`)));
    context.store.set({
      dataSet: { ...info, table },
      dataFilter: ANY,
      dataLooks: null,
      dataPoints: null,
      dataQueryKeys: null,
      dataMaps: new Map(),
    });
  });

/**
 * Show a set that a link names, while the server still holds it; the link's filters stay.
 * @param {Pick<Context, "store" | "actions">} context
 */
export async function showHeldSet({ store, actions }) {
  const { dataWanted: key } = store.get();
  store.set({ dataWanted: "" });
  try {
    const info = await readHeldSet(key);
    const table = tableOf(await fetchPacked(address(`data/${key}/table`)));
    const { dataFilter } = store.get();
    const known = [dataFilter.label, dataFilter.predicted].every((index) => index < table.classes.length);
    store.set({ dataSet: { ...info, table }, dataFilter: known ? dataFilter : ANY });
  } catch (error) {
    actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
  }
}

/** Ask what the model looks at in the pictures shown, the first of them where they are many. @param {Pick<Context, "store" | "actions">} context */
export function askLooks(context) {
  const state = context.store.get();
  const { key, most } = setOf(state);
  const places = [...shownPlaces(state).subarray(0, most)];
  const order = { ask: "looks", model: modelOfSet(state), places };
  const { length: count } = shownPlaces(state);
  return work(context, "looks", `data/${key}/views`, order, (view) =>
    context.store.set({ dataLooks: { ...view, count } }),
  );
}

/**
 * Ask for the maps of some pictures, each with what it beats; those that are there stay.
 * @param {Pick<Context, "store" | "actions">} context
 * @param {number[]} wanted
 */
export function askMaps(context, wanted) {
  const { store } = context;
  const state = store.get();
  const places = wanted.filter((place) => !state.dataMaps.has(place));
  if (!places.length) return Promise.resolve();
  const order = { ask: "maps", model: modelOfSet(state), places, colormap: state.colormap };
  const keep = (one) => store.set({ dataMaps: new Map(store.get().dataMaps).set(one.place, one) });
  return work(context, "maps", `data/${setOf(state).key}/views`, order, () => {}, keep);
}

/** Ask for all pictures as points. @param {Pick<Context, "store" | "actions">} context */
export function askPoints(context) {
  const state = context.store.get();
  const order = { ask: "points", model: modelOfSet(state) };
  return work(context, "points", `data/${setOf(state).key}/views`, order, (dataPoints) =>
    context.store.set({ dataPoints }),
  );
}

/**
 * Ask for queries and keys of a head: of the pictures shown, or, with a change, of those drawn.
 * @param {Pick<Context, "store" | "actions">} context
 * @param {{ layer?: number, head?: number, layout?: string }} [change]
 */
export function askQueryKeys(context, change) {
  const state = context.store.get();
  const { key, most } = setOf(state);
  const held = state.dataQueryKeys;
  const passing = shownPlaces(state);
  const asked = change && held ? held.asked : evenly(passing, most);
  const { layer = -1, head = 0, layout = "pca" } = { ...held, ...change };
  const order = { ask: "query_keys", model: modelOfSet(state), places: asked, layer, head, layout };
  const count = change && held ? held.count : passing.length;
  return work(context, "queries", `data/${key}/views`, order, (view) =>
    context.store.set({ dataQueryKeys: { ...view, asked, count } }),
  );
}

/** At most so many of some places, evenly spread. */
const evenly = (places, most) =>
  places.length <= most ? [...places] : Array.from({ length: most }, (_, at) => places[Math.floor((at * places.length) / most)]);
