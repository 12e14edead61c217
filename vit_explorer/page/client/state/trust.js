// How the maps in view are compared with chance, and which of them are not yet.

import { analysesOf, ask, jobOf, mapOf } from "./analyses.js";
import { chosenIds, shownMaps } from "./chosen_maps.js";

/** The name of the job that compares with chance. */
export const TRUST = "trust";
// What takes no longer is done without being asked for.
const UNASKED_SECONDS = 2;

/**
 * What is taken away of the picture: as the reader chose, else the last that the model allows.
 * @param {State} state
 * @returns {Protocol}
 */
export function protocolOf({ protocol, result }) {
  const { protocols } = result.model;
  return protocol && protocols.includes(protocol) ? protocol : protocols[protocols.length - 1];
}

/**
 * The comparison by the protocol in view, or null.
 * @param {State} state
 * @returns {Trust | null}
 */
export const trustOf = (state) => analysesOf(state.result).trust[protocolOf(state)] ?? null;

/**
 * The ids of shown maps that are not compared yet.
 * @param {State} state
 * @param {Setup} setup
 * @returns {string[]}
 */
export function unscored(state, setup) {
  const trust = trustOf(state);
  // A map of another stage's grid can't be ranked beside the same random maps.
  const { grid } = state.result.model;
  return shownMaps(state, setup)
    .filter((map) => `${map.grid}` === `${grid}` && !trust?.maps[map.id])
    .map(({ id }) => id);
}

/**
 * Compare the shown maps with chance, however long it takes.
 * @param {State} state
 * @param {Setup} setup
 */
export function compareWithChance(state, setup) {
  const names = unscored(state, setup);
  if (names.length) ask(state.result, TRUST, { ask: "trust", names, protocol: protocolOf(state) });
}

/**
 * Compare the shown maps with chance where that is quick: once all are here, and once for each lot.
 * @param {State} state
 * @param {Setup} setup
 */
export function compareUnasked(state, setup) {
  const { result } = state;
  const { failed, wondered } = analysesOf(result);
  if (!result.target || TRUST in failed || jobOf(result, TRUST)) return;
  const due = chosenIds(state, setup).some((id) => !mapOf(result, id) && jobOf(result, id));
  const names = unscored(state, setup);
  if (due || !names.length) return;
  const protocol = protocolOf(state);
  const lot = `${protocol} ${names}`;
  if (wondered.has(lot)) return;
  wondered.add(lot);
  ask(result, TRUST, { ask: "trust", names, protocol, within: UNASKED_SECONDS });
}
