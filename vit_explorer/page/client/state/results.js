// A result made ready to draw: its addresses, its pictures, and its attention as it arrives.

import { address } from "../base/address.js";
import { learnNames } from "../base/class_names.js";
import { loadImage, PixelSource } from "../maps/picture.js";
import { Attention } from "../server/attention_data.js";
import { fetchPacked } from "../server/packed.js";

/**
 * `before` is what is shown already, { result, image, seen } or with nulls: what it shares is not
 * fetched again.
 * @param {Result} result
 */
export async function prepareResult(result, before) {
  const same = before.result?.pass === result.pass;
  learnNames(result.model);
  if (result.model.labels) result.model.labels = address(result.model.labels);
  for (const part of [
    result.picture,
    result.seen,
    result.attention,
    result.positions,
    result.film,
  ]) {
    if (part.url) part.url = address(part.url);
  }
  result.download = address(result.download);
  const [whole, seen, positions] = await Promise.all([
    same ? before.image.whole : loadImage(result.picture.url),
    same ? before.seen : loadImage(result.seen.url),
    result.positions.url ? positionValues(before.result, result, result.positions.url) : null,
  ]);
  result.positions.values = positions;
  if (same) {
    // The server forgets the results of longest ago, so what is still missing comes from the newest.
    const { data } = before.result.attention;
    data.info = result.attention;
    data.forgetFailures();
    result.attention.data = data;
  } else result.attention.data = new Attention(result.attention);
  return { result, image: same ? before.image : new PixelSource(whole, seen, result), seen };
}

/**
 * @param {Result | null} before
 * @param {Result} result
 * @param {string} url
 */
async function positionValues(before, result, url) {
  if (before?.model.key === result.model.key) return before.positions.values;
  return (await fetchPacked(url)).arrays.similarity;
}
