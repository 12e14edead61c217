// What a result is asked beyond its one pass: further maps, every layer's, and their worth. Asked
// one at a time; an answer comes line by line, and to hang up stops the server's work.

import { address } from "../base/address.js";
import { t } from "../base/words.js";

const RESULTS_KEPT = 8;
const held = new Map();
const jobs = [];

/**
 * What was worked out for a result: `maps` by id, `layers` by method, `trust`, `failed` by job.
 * @param {Result} result
 */
export function analysesOf({ key }) {
  const kept = held.get(key) ?? { maps: {}, layers: {}, trust: null, failed: {} };
  held.delete(key);
  held.set(key, kept);
  while (held.size > RESULTS_KEPT) held.delete(held.keys().next().value);
  return kept;
}

/**
 * The map of a name such as "grad_cam" or "grad_cam@7", or null while it is not here.
 * @param {Result} result
 */
export function mapOf(result, id) {
  const [name, layer] = id.split("@");
  if (layer === undefined) {
    const made = result.maps.find((map) => map.name === name);
    if (made) return made;
  }
  const { maps, layers } = analysesOf(result);
  return maps[id] ?? layers[name]?.[Number(layer)] ?? null;
}

/**
 * How far a job is, or null where none is under way: `done` of `total`, null before it begins.
 * @param {Result} result
 */
export function jobOf(result, name) {
  return jobs.find((job) => job.result.key === result.key && job.name === name) ?? null;
}

/**
 * Ask for something, such as `{ ask: "map", name: "rise" }`, under a job's name.
 * @param {Store} store
 * @param {Result} result
 */
export function ask(store, result, name, body) {
  if (jobOf(result, name)) return;
  delete analysesOf(result).failed[name];
  jobs.push({ store, result, name, body, done: null, total: null, caller: new AbortController() });
  if (jobs.length === 1) work(jobs[0]);
  tick(store);
}

/**
 * @param {Store} store
 * @param {Result} result
 */
export function stop(store, result, name) {
  const job = jobOf(result, name);
  if (!job) return;
  const begun = jobs[0] === job;
  // What the reader stopped is not begun again by itself.
  analysesOf(result).failed[name] = "";
  job.caller.abort();
  // One that has begun leaves the list when its connection is closed.
  if (!begun) jobs.splice(jobs.indexOf(job), 1);
  tick(store);
}

/** Give up all work, such as when another picture is wanted: it would have to wait its turn. */
export function stopAll() {
  for (const job of jobs.splice(1)) job.caller.abort();
  jobs[0]?.caller.abort();
}

/** @param {Store} store */
const tick = (store) => store.set({ analysed: store.get().analysed + 1 });

async function work(job) {
  const { store, result, name, caller } = job;
  try {
    await listen(job);
  } catch (error) {
    if (!caller.signal.aborted) {
      analysesOf(result).failed[name] = error instanceof TypeError ? t("state.offline") : error.message;
    }
  }
  jobs.shift();
  if (jobs.length) work(jobs[0]);
  tick(store);
}

async function listen(job) {
  const { store, result, body, caller } = job;
  const response = await fetch(address(`results/${result.key}/analyses`), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: caller.signal,
  });
  if (response.status === 404) throw new Error(t("analysis.gone"));
  if (!response.ok) throw new Error((await response.json()).error);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value = "" } = await reader.read();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(job, JSON.parse(line));
    if (lines.length) tick(store);
    if (done) return;
  }
}

function take(job, line) {
  const kept = analysesOf(job.result);
  if (line.error) throw new Error(line.error);
  if (line.total) [job.done, job.total] = [line.done, line.total];
  if (line.map) kept.maps[line.map.id] = line.map;
  if (line.trust) kept.trust = line.trust;
  if (line.layers) kept.layers[line.layers.name] = unpack(line.layers, job.result);
}

/**
 * A method's maps of all layers, from what they share and each one's values as bytes.
 * @param {any} values
 * @param {Result} result
 */
function unpack({ layers, ...method }, result) {
  return layers.map(
    (one, layer) =>
      one && {
        ...method,
        id: `${method.name}@${layer}`,
        layer,
        target_label: method.class_specific ? result.target.label : null,
        limits: one.limits,
        grid: one.grid,
        note: one.note,
        values: [...floats(one.bytes)],
      },
  );
}

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
