// What a result is asked beyond its one pass: further maps, every layer's, and their worth. Asked
// one at a time; an answer comes line by line, and to hang up stops the server's work.

import { address } from "../base/address.js";
import { Source } from "../base/effects.js";
import { t } from "../base/words.js";
import { linesOf } from "../server/jobs.js";
import { fetchPacked } from "../server/packed.js";

const RESULTS_KEPT = 8;
const held = new Map();
const jobs = [];

/**
 * What was worked out for a result: `maps` by id, `layers` by method, `trust` and the `seconds` that
 * it would take by protocol, where protocols `differ` by map, `failed` by job.
 * @param {Result} result
 */
export function analysesOf({ key }) {
  const kept = held.get(key) ?? empty();
  held.delete(key);
  held.set(key, kept);
  while (held.size > RESULTS_KEPT) held.delete(held.keys().next().value);
  kept.source.track();
  return kept;
}

const empty = () => ({
  maps: {},
  layers: {},
  trust: {},
  seconds: {},
  differ: {},
  wondered: new Set(),
  failed: {},
  source: new Source(),
});

/** @param {Result} result */
const changed = (result) => analysesOf(result).source.changed();

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
  analysesOf(result).source.track();
  return jobs.find((job) => job.result.key === result.key && job.name === name) ?? null;
}

/**
 * Ask for something, such as `{ ask: "map", name: "rise" }`, under a job's name.
 * @param {Result} result
 */
export function ask(result, name, body) {
  if (jobOf(result, name)) return;
  delete analysesOf(result).failed[name];
  jobs.push({ result, name, body, done: null, total: null, caller: new AbortController() });
  if (jobs.length === 1) work(jobs[0]);
  changed(result);
}

/** @param {Result} result */
export function stop(result, name) {
  const job = jobOf(result, name);
  if (!job) return;
  const begun = jobs[0] === job;
  // What the reader stopped is not begun again by itself.
  analysesOf(result).failed[name] = "";
  job.caller.abort();
  // One that has begun leaves the list when its connection is closed.
  if (!begun) jobs.splice(jobs.indexOf(job), 1);
  changed(result);
}

/** Give up all work, such as when another picture is wanted: it would have to wait its turn. */
export function stopAll() {
  for (const job of jobs.splice(1)) job.caller.abort();
  jobs[0]?.caller.abort();
}

async function work(job) {
  const { result, name, caller } = job;
  try {
    await listen(job);
  } catch (error) {
    if (!caller.signal.aborted) {
      analysesOf(result).failed[name] = error instanceof TypeError ? t("state.offline") : error.message;
    }
  }
  jobs.shift();
  if (jobs.length) work(jobs[0]);
  changed(result);
}

async function listen(job) {
  const { result, body, caller } = job;
  for await (const line of linesOf(`results/${result.key}/analyses`, body, caller.signal)) {
    await take(job, line);
    changed(result);
  }
}

async function take(job, line) {
  const kept = analysesOf(job.result);
  if (line.total) [job.done, job.total] = [line.done, line.total];
  if (line.map) kept.maps[line.map.id] = line.map;
  if (line.trust) kept.trust[line.trust.protocol] = line.trust;
  if (line.differ) kept.differ = line.differ;
  if (line.trust_seconds) Object.assign(kept.seconds, line.trust_seconds);
  if (line.layers) kept.layers[line.layers] = await fetchLayers(job.result, line.layers);
}

/**
 * A method's maps of all layers, null where there is none.
 * @param {Result} result
 * @param {string} name
 * @returns {Promise<(Heatmap | null)[]>}
 */
async function fetchLayers(result, name) {
  const { facts, arrays } = await fetchPacked(address(`results/${result.key}/methods/${name}/layers`));
  const { layers, ...method } = facts;
  let at = 0;
  return layers.map((one, layer) => {
    if (!one) return null;
    const values = arrays.values.subarray(at, (at += one.grid[0] * one.grid[1]));
    return {
      ...method,
      id: `${method.name}@${layer}`,
      layer,
      target_label: method.class_specific ? (result.target?.label ?? null) : null,
      limits: one.limits,
      grid: one.grid,
      note: one.note,
      values: [...values],
    };
  });
}
