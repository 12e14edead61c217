// What the Layers view is drawn from, fetched once a picture when the view is opened.

import { address } from "../base/address.js";
import { fetchPacked, rowsOf } from "./packed.js";

const FULL = 32767;

// Results of one picture and model share their attention, and so their tokens.
const facts = new WeakMap();
const tokens = new WeakMap();
const single = new WeakMap();
const last = new WeakMap();

/** What `load` gives for a key: null until it is here, asked for once, again after a failure. */
function held(map, key, load, { arrived, failed }) {
  if (!map.has(key)) {
    map.set(key, null);
    load()
      .then((value) => {
        map.set(key, value);
        arrived();
      })
      .catch((error) => {
        map.delete(key);
        failed(error);
      });
  }
  return map.get(key);
}

/**
 * Lens, path and norms of a result, or null while they are not here.
 * @param {Result} result
 */
export function depthOf(result, report) {
  const load = async () => describe(await fetchPacked(address(`results/${result.key}/depth`)));
  return held(facts, result, load, report);
}

/**
 * Cosine similarity of a token's block outputs to every patch's, a Float32Array a layer; null while
 * it is not here.
 * @param {Result} result
 * @param {number} token
 */
export function similarities(result, whole, token, report) {
  const pass = result.attention.data;
  if (!whole) {
    if (!single.has(pass)) single.set(pass, new Map());
    const load = async () =>
      rowsOf(await fetchPacked(address(`results/${result.key}/similarities/${token}`)), "similarity");
    return held(single.get(pass), token, load, report);
  }
  const load = async () =>
    (await fetchPacked(address(`results/${result.key}/tokens`))).arrays.tokens;
  const values = held(tokens, pass, load, report);
  if (!values) return null;
  if (last.get(pass)?.token !== token) {
    last.set(pass, { token, maps: compare(values, token, result.model) });
  }
  return last.get(pass).maps;
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
      maps[patch] = sum / FULL / FULL;
    }
    return maps;
  });
}
