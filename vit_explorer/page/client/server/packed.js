// Numbers that a view fetches when it needs them: a JSON head, then the arrays it lists.

import { address } from "../base/address.js";

const KINDS = { f4: Float32Array, i1: Int8Array, u1: Uint8Array };
const KEPT = 60;
const held = new Map();

/** What `pack` of vit_explorer/ui/packing.py wrote: the facts of its head, and arrays by name. */
export function unpack(buffer) {
  const [length] = new Uint32Array(buffer, 0, 1);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const { arrays: listed, ...facts } = JSON.parse(text);
  const arrays = {};
  const shapes = {};
  let at = 4 + length;
  for (const [name, kind, shape] of listed) {
    const count = shape.reduce((product, side) => product * side, 1);
    arrays[name] = new KINDS[kind](buffer, at, count);
    shapes[name] = shape;
    at += Math.ceil(arrays[name].byteLength / 4) * 4;
  }
  return { facts, arrays, shapes };
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
    fetchPacked(`results/${result.key}/${path}`)
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

async function fetchPacked(path) {
  const response = await fetch(address(path));
  if (!response.ok) throw new Error(`${path} ${response.status}`);
  return unpack(await response.arrayBuffer());
}
