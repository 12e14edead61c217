// Numbers as they come from the server, all in one layout; and those that a view fetches when it
// needs them.

import { address } from "../base/address.js";
import { refusal } from "./refusal.js";
import { Resources } from "./resources.js";

const KINDS = { F32: Float32Array, I32: Int32Array, U8: Uint8Array };
const LENGTH = 8;
const KEPT = 60;
const held = new Resources(KEPT);

/**
 * What `pack` of vit_explorer/page/payloads/packing.py wrote, a file in safetensors' layout: the length
 * of a header as uint64, the header as JSON, then the arrays at the offsets that it lists.
 * @param {ArrayBuffer} buffer
 * @returns {Packed}
 */
export function unpack(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const text = new TextDecoder().decode(new Uint8Array(buffer, LENGTH, length));
  const { __metadata__: told, ...listed } = JSON.parse(text);
  const arrays = {};
  const shapes = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(listed)) {
    const Kind = KINDS[dtype];
    const count = (end - start) / Kind.BYTES_PER_ELEMENT;
    arrays[name] = new Kind(buffer, LENGTH + length + start, count);
    shapes[name] = shape;
  }
  return { facts: JSON.parse(told.facts), arrays, shapes };
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
 * @param {Result} result
 * @param {string} path
 * @returns {(Packed & { failed?: undefined }) | { failed: true, arrays?: undefined } | null | any}
 */
export function numbersOf(result, path) {
  const url = address(`results/${result.key}/${path}`);
  const { status, value } = held.read(`${result.pass} ${path}`, () => fetchPacked(url));
  return status === "failed" ? { failed: true } : value;
}

/** What could not be had may be asked for again: another answer has come from the server. */
export const forgetFailures = () => held.forgetFailures();

/**
 * The numbers at an address, or throws the server's own sentence.
 * @param {string} url
 */
export async function fetchPacked(url) {
  const response = await fetch(url);
  if (!response.ok) throw await refusal(response);
  return unpack(await response.arrayBuffer());
}
