// What the changed model answers. One question is under way at a time; of those that come meanwhile
// only the newest is asked, and what was answered before is never asked again.

import { address } from "../base/address.js";
import { isValued, numberOf } from "../base/outputs.js";
import { said, t } from "../base/words.js";
import { Resources } from "../server/resources.js";
import { editKey, isPlain, layerAndHead } from "./edits.js";

const answered = new WeakMap();

/** @param {Result} result */
function answersOf(result) {
  if (!answered.has(result)) answered.set(result, new Resources());
  return answered.get(result);
}

/**
 * The heads that are off, as pairs of layer and head.
 * @param {State} state
 */
export const headsOf = (state) =>
  state.edit.heads.map((head) => layerAndHead(state.result.model, head));

/**
 * The change that is shown: its key, and what to ask.
 * @param {State} state
 */
export function changeOf(state) {
  const { patches, how } = state.edit;
  return {
    path: "change",
    key: editKey(state.edit),
    order: { patches, how, heads: headsOf(state) },
  };
}

/**
 * The curve of a ranking of all patches, by the heads and the way that are chosen.
 * @param {State} state
 */
export function removalOf(state, name, ranking) {
  const { how, heads } = state.edit;
  const key = JSON.stringify([name, how, heads]);
  return { path: "removal", key, order: { ranking, how, heads: headsOf(state) } };
}

/**
 * The answer to a question: `{ value }` or `{ error }`; null where it is not here.
 * @param {State} state
 */
export function answerTo(state, { path, key }) {
  // Without a target nothing is changed, nor asked.
  const { result } = /** @type {{ result: Result & { target: Target } }} */ (state);
  if (path === "change" && isPlain(state.edit)) return { value: plain(result) };
  return answersOf(state.result).peek(`${path} ${key}`).value;
}

/**
 * The answer to no change at all, which needs no model.
 * @param {Result & { target: Target }} result
 */
function plain({ predictions, target, model }) {
  const listed = predictions.some(({ index }) => index === target.index);
  const rows = (listed ? predictions : [...predictions, target]).map((each) => {
    // The other side of a class stands in the place of the class.
    const number = numberOf(each.index === target.index ? target : each);
    return { index: each.index, label: each.label, before: number, after: number };
  });
  return { rows, target: target.index, first: isValued(model) ? target.index : predictions[0].index };
}

/**
 * @param {Result} result
 * @param {{ path: string, order: object }} question
 * @param {AbortSignal} signal
 */
async function ask(result, { path, order }, signal) {
  const response = await fetch(address(`results/${result.key}/${path}`), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
    signal,
  });
  const answer = await response.json();
  if (response.ok) return { value: answer };
  if (response.status === 422) return { error: said(answer.error) };
  throw new Error(`${path} ${response.status}`);
}

/**
 * Ask what `wanted(state)` names until it is answered. A question of an earlier result is dropped.
 * @param {Context} context
 */
export function createAsker({ store, actions, signal }, wanted) {
  /** @type {AbortController | null} */
  let running = null;

  async function askNewest() {
    const state = store.get();
    const question = wanted(state);
    if (running || signal.aborted || !question || answerTo(state, question)) return;
    const { result } = state;
    const caller = new AbortController();
    running = caller;
    try {
      const answer = await ask(result, question, caller.signal);
      answersOf(result).put(`${question.path} ${question.key}`, answer);
    } catch (error) {
      running = null;
      if (error.name === "AbortError") askNewest();
      else actions.fail(t(error instanceof TypeError ? "state.offline" : "state.unchanged"));
      return;
    }
    running = null;
    askNewest();
  }

  store.on(["result"], () => running?.abort());
  signal.addEventListener("abort", () => running?.abort());
  return askNewest;
}
