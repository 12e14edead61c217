// Which maps the reader wants beside one another, and of which layer each is.

import { lackOfMethod } from "../base/lacks.js";
import { t } from "../base/words.js";
import { analysesOf, ask, jobOf, mapOf } from "./analyses.js";

/** A map's method by name, and the layer where it is not the method's own. */
export function mapTitle(id) {
  const [name, layer] = id.split("@");
  const title = t(`method.${name}.title`);
  return layer === undefined ? title : t("map.atLayer", { title, layer: Number(layer) + 1 });
}

/**
 * The methods that are shown without a choice: of the model, or before there is one.
 * @param {State} state
 * @param {Setup} setup
 */
export const usualMethods = ({ result }, setup) =>
  result?.model.usual ?? setup.methods.filter(({ shown }) => shown).map(({ name }) => name);

/**
 * Names of the chosen methods, in the server's order; without a choice, those it shows by itself.
 * @param {State} state
 * @param {Setup} setup
 */
export function chosenMethods(state, setup) {
  const wanted = state.methods ?? usualMethods(state, setup);
  return setup.methods.map(({ name }) => name).filter((name) => wanted.includes(name));
}

/**
 * @param {Store} store
 * @param {Setup} setup
 */
export function chooseMethods(store, setup, names) {
  const usual = usualMethods(store.get(), setup);
  const same = usual.length === names.length && usual.every((name) => names.includes(name));
  store.set({ methods: same ? null : names });
}

/**
 * The layer whose map a method shows, or null for the one it reads by itself.
 * @param {State} state
 */
export function layerOf(state, name) {
  const layer = state.mapLayers[name] ?? null;
  return layer === null || layer >= state.result.model.depth - 1 ? null : layer;
}

/**
 * @param {Store} store
 * @param {Setup} setup
 * @param {number} layer
 */
export function chooseLayer(store, setup, name, layer) {
  const state = store.get();
  store.set({ mapLayers: { ...state.mapLayers, [name]: layer } });
  const chosen = chosenMethods(state, setup);
  if (!chosen.includes(name)) chooseMethods(store, setup, [...chosen, name]);
}

/**
 * The chosen methods that the model does not allow, as the setup has them.
 * @param {State} state
 * @param {Setup} setup
 */
export const leftOut = (state, setup) => {
  const chosen = chosenMethods(state, setup);
  return setup.methods.filter(
    (method) => chosen.includes(method.name) && lackOfMethod(state.result.model, method),
  );
};

/**
 * The ids of the maps to show: those that the model does not allow are left out.
 * @param {State} state
 * @param {Setup} setup
 */
export function chosenIds(state, setup) {
  const without = leftOut(state, setup).map(({ name }) => name);
  return chosenMethods(state, setup)
    .filter((name) => !(name in state.result.skipped) && !without.includes(name))
    .map((name) => {
      const layer = layerOf(state, name);
      return layer === null ? name : `${name}@${layer}`;
    });
}

/**
 * @param {State} state
 * @param {Setup} setup
 */
export const shownMaps = (state, setup) =>
  chosenIds(state, setup)
    .map((id) => mapOf(state.result, id))
    .filter(Boolean);

/**
 * Ask for the chosen maps that cost little and are not here yet.
 * @param {Store} store
 * @param {Setup} setup
 */
export function askForBrief(store, setup) {
  const state = store.get();
  const { failed } = analysesOf(state.result);
  for (const id of chosenIds(state, setup)) {
    const method = setup.methods.find(({ name }) => name === id.split("@")[0]);
    if (mapOf(state.result, id) || (method?.slow && !method.brief)) continue;
    if (!jobOf(state.result, id) && !(id in failed)) askForMap(state.result, id);
  }
}

/** @param {Result} result */
export const askForMap = (result, id) => ask(result, id, { ask: "map", name: id });
