// Numbers as they come from the server, all in one layout; and those that a view fetches when it
// needs them.

import { address } from "../base/address.js";
import { refusal } from "./refusal.js";

const KINDS = { F32: Float32Array, I16: Int16Array, I8: Int8Array, U8: Uint8Array };
const LENGTH = 8;
const KEPT = 60;
const held = new Map();

/**
 * What `pack` of vit_explorer/page/payloads/packing.py wrote, a file in safetensors' layout: the length
 * of a header as uint64, the header as JSON, then the arrays at the offsets that it lists.
 * @param {ArrayBuffer} buffer
 * @returns {Packed}
 */
export function unpack(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const text = new TextDecoder().decode(new Uint8Array(buffer, LENGTH, length));
  const { __metadata__: told = {}, ...listed } = JSON.parse(text);
  const facts = Object.fromEntries(
    Object.entries(told).map(([name, json]) => [name, JSON.parse(json)]),
  );
  const arrays = {};
  const shapes = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(listed)) {
    const Kind = KINDS[dtype];
    const count = (end - start) / Kind.BYTES_PER_ELEMENT;
    arrays[name] = new Kind(buffer, LENGTH + length + start, count);
    shapes[name] = shape;
  }
  return { facts, arrays, shapes };
}

/**
 * The rows along an array's first side, as plain lists of numbers.
 * @param {Packed} packed
 * @param {string} name
 * @returns {number[][]}
 */
export function rowsOf({ arrays, shapes }, name) {
  const [count] = shapes[name];
  const size = arrays[name].length / count;
  return Array.from({ length: count }, (_, row) => [
    ...arrays[name].subarray(row * size, (row + 1) * size),
  ]);
}

/**
 * What lies at `path` of a result: null until it is here, `{ failed: true }` if it can't be had.
 * Arrivals are counted in the store's `numbers`, so that views draw again.
 * @param {Store} store
 * @param {Result} result
 */
export function numbersOf(store, result, path) {
  const key = `${result.pass} ${path}`;
  if (!held.has(key)) {
    keep(key, null);
    fetchPacked(address(`results/${result.key}/${path}`))
      .catch(() => ({ failed: true }))
      .then((numbers) => {
        keep(key, numbers);
        store.set({ numbers: store.get().numbers + 1 });
      });
  } else keep(key, held.get(key));
  return held.get(key);
}

/** What could not be had may be asked for again: another answer has come from the server. */
export function forgetFailures() {
  for (const [key, numbers] of held) if (numbers?.failed) held.delete(key);
}

/** As the newest; what was not read for longest goes. */
function keep(key, numbers) {
  held.delete(key);
  held.set(key, numbers);
  if (held.size > KEPT) held.delete(held.keys().next().value);
}

/**
 * The numbers at an address, or throws the server's own sentence.
 * @param {string} url
 */
export async function fetchPacked(url) {
  const response = await fetch(url);
  if (!response.ok) throw await refusal(response);
  return unpack(await response.arrayBuffer());
}
