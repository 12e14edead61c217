// What a token's attention says, in words: the same on the page, in a report and in a notebook.

import { percent } from "../base/format.js";
import { list, t } from "../base/words.js";
import { cellOf, extremePatch, tokenName } from "./geometry.js";
import { range } from "./pixels.js";

// Values this close to one another are called equal.
const EVEN = 0.02;

/**
 * Where a token's attention is strongest, or that it is the same everywhere.
 * @param {Float32Array} map over all tokens
 * @param {number} query
 * @param {Pick<Model, "grid" | "prefix">} model
 * @param {{ direction?: string, rolled?: boolean }} [of] "from" the query or "to" it; of this layer, or rolled out
 */
export function describeAttention(map, query, model, { direction = "from", rolled = false } = {}) {
  const [row, column] = /** @type {Pair} */ (cellOf(model, extremePatch(map, model.prefix.length)));
  const [low, high] = range(map.subarray(model.prefix.length));
  const name = tokenName(model, query);
  const shares = model.prefix.map((_, token) => `${tokenName(model, token)} ${percent(map[token])}`);
  const prefix = shares.length ? t("heads.prefix", { shares: list(shares) }) : "";
  // Where attention has collapsed there is no patch to point at.
  const what = high - low <= EVEN * high ? "even" : rolled ? "rolled" : "says";
  return t(`heads.${what}.${direction}`, {
    query: name[0].toUpperCase() + name.slice(1),
    row: row + 1,
    column: column + 1,
    top: percent(high),
    prefix,
  }).trim();
}
