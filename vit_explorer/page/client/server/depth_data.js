// What the Layers view is drawn from, fetched once a picture when the view is opened.

import { address } from "../base/address.js";
import { fetchPacked, rowsOf } from "./packed.js";
import { Resources } from "./resources.js";

const KEPT = 20;
const held = new Resources(KEPT);
// The newest comparison of each pass's tokens.
const compared = new WeakMap();

/**
 * Lens, path and norms of a result: their resource, whose value is null while they are not here.
 * @param {Result} result
 */
export function depthOf({ key }) {
  return held.read(`${key} depth`, async () =>
    describe(await fetchPacked(address(`results/${key}/depth`))),
  );
}

/**
 * The lens of every patch: a list a depth of each number, or why there is none; its resource.
 * @param {Result} result
 */
export function patchLensOf({ key }) {
  return held.read(`${key} patch lens`, async () => {
    const packed = await fetchPacked(address(`results/${key}/patch-lens`));
    const lists = Object.keys(packed.arrays).map((name) => [name, rowsOf(packed, name)]);
    return { ...packed.facts, ...Object.fromEntries(lists) };
  });
}

/**
 * What each part adds to the logit: `cells`, a row a layer of its heads, its MLP and its attention's biases,
 * with `embedding`, `end` and `logit`; or why that can't be told (`error`); its resource.
 * @param {Result} result
 */
export function partsOf({ key }) {
  return held.read(`${key} parts`, async () => {
    const packed = await fetchPacked(address(`results/${key}/contributions`));
    if (packed.facts.error) return packed.facts;
    const heads = rowsOf(packed, "heads");
    const { mlps, attention_biases: biases } = packed.arrays;
    return { ...packed.facts, cells: heads.map((values, layer) => [...values, mlps[layer], biases[layer]]) };
  });
}

/** What could not be had may be asked for again. */
export const forgetFailures = () => held.forgetFailures();

/**
 * Cosine similarity of a token's block outputs to every patch's, a list a layer: their resource, whose
 * value is null while they are not here.
 * @param {Result} result
 * @param {number} token
 */
export function similarities({ key, pass, attention, model }, whole, token) {
  if (!whole) {
    return held.read(`${pass} similarities ${token}`, async () =>
      rowsOf(await fetchPacked(address(`results/${key}/similarities/${token}`)), "similarity"),
    );
  }
  const found = held.read(`${pass} tokens`, async () => {
    return (await fetchPacked(address(`results/${key}/tokens`))).arrays.tokens;
  });
  if (found.status !== "ready") return found;
  const before = compared.get(attention.data);
  if (before?.token === token) return before;
  const maps = { status: "ready", token, value: compare(found.value, token, model) };
  compared.set(attention.data, maps);
  return maps;
}

/** The parts of the Layers view, each with its own numbers. */
function describe(packed) {
  const { lens, layers, reads_patches, whole } = packed.facts;
  const [similarity, points, norms, prefix, counts, edges] = [
    "similarity", "points", "norms", "prefix", "counts", "edges",
  ].map((name) => rowsOf(packed, name));
  return {
    lens,
    whole,
    path: { similarity, points, shares: [...packed.arrays.shares], reads_patches },
    layers: layers.map((one, layer) => ({
      ...one,
      norms: norms[layer],
      prefix: prefix[layer],
      counts: counts[layer],
      edges: edges[layer],
    })),
  };
}

/**
 * @param {any} values
 * @param {number} token
 * @param {Model} model
 */
function compare(values, token, { depth, dim, tokens: count, prefix }) {
  return Array.from({ length: depth }, (_, layer) => {
    const start = layer * count * dim;
    const own = values.subarray(start + token * dim, start + (token + 1) * dim);
    const maps = new Float32Array(count - prefix.length);
    for (let patch = 0; patch < maps.length; patch += 1) {
      const at = start + (patch + prefix.length) * dim;
      let sum = 0;
      for (let i = 0; i < dim; i += 1) sum += own[i] * values[at + i];
      maps[patch] = sum;
    }
    return maps;
  });
}
