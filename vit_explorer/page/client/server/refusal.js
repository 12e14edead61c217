// Why the server refused, in words.

import { said, t } from "../base/words.js";

// The server's own answers of these have a sentence: these are a proxy's before it.
const OF_PROXIES = {
  413: "state.tooLarge",
  502: "state.unreached",
  503: "state.unreached",
  504: "state.unreached",
};

/**
 * A refusal in the server's own sentence, which of the page's choices it is about, if any, and the
 * models that can be had instead.
 */
export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {string} [part]
   * @param {string[]} [instead]
   */
  constructor(sentence, part, instead = []) {
    super(sentence);
    this.part = part;
    this.instead = instead;
  }
}

/**
 * The server's own sentence, or ours where it has none.
 * @param {Response} response
 */
export async function refusal(response) {
  return new Refusal(sentenceOf(await response.json().catch(() => ({})), response.status));
}

/**
 * The sentence in an answer of this status; FastAPI's own words, such as "Not Found", are none.
 * @param {{ error?: Said, detail?: Said }} answer
 * @param {number} status
 */
export function sentenceOf({ error, detail }, status) {
  const told = error ?? detail;
  return told?.text ? said(told) : t(OF_PROXIES[status] ?? "state.refused", { status });
}
