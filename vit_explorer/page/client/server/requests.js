// What the page asks and sends, apart from numbers and from work that takes time.

import { address } from "../base/address.js";
import { linesOf, waitingWords } from "./jobs.js";
import { refusal, sentenceOf } from "./refusal.js";

export async function readSetup() {
  const response = await fetch(address("setup"));
  if (!response.ok) throw new Error(`setup ${response.status}`);
  return response.json();
}

/** Names of every model that can be loaded; none where the server does not answer. */
export async function readModelNames() {
  const response = await fetch(address("models/names")).catch(() => null);
  return response?.ok ? response.json() : [];
}

/**
 * The models of the gallery, each with what is known of it and what of it is on the server.
 * @returns {Promise<Exhibit[]>}
 */
export const readGallery = () => readFacts("models/gallery");

/**
 * Whether the server can have weights from the hub.
 * @returns {Promise<{ reachable: boolean }>}
 */
export const readHub = () => readFacts("models/hub");

/** @param {string} path */
async function readFacts(path) {
  const response = await fetch(address(path));
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** Send a picture's bytes; returns its key, or throws the server's own sentence. */
export async function sendPicture(file) {
  const response = await fetch(address(`pictures?name=${encodeURIComponent(file.name ?? "")}`), {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  });
  if (!response.ok) throw await refusal(response);
  return (await response.json()).picture;
}

/** Show other bands of a picture that was sent, or stretch its values otherwise; returns its key. */
export async function chooseValues(picture, choice) {
  return (await postJson("pictures/values", { picture, ...choice })).picture;
}

const labels = new Map();

/** Bytes the server's process takes, and those of results it keeps. */
export async function readMemory() {
  const response = await fetch(address("memory"));
  if (!response.ok) throw new Error(`memory ${response.status}`);
  return response.json();
}

/** An answer's JSON; nothing of one that is none, as a proxy's or a failing server's. */
function read(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/**
 * Send a checkpoint or labels; returns the file's key. `onProgress` gets the share that was sent.
 * @param {AbortSignal} signal
 */
export function sendFile(kind, file, signal, onProgress) {
  // fetch does not tell how far a request has come.
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.open("POST", address(`uploads/${kind}?name=${encodeURIComponent(file.name)}`));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onerror = () => reject(new TypeError("network"));
    request.onabort = () => reject(new Error("stopped"));
    request.onload = () => {
      const answer = read(request.responseText);
      if (request.status === 200 && answer.upload) resolve(answer.upload);
      else reject(new Error(sentenceOf(answer, request.status)));
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/**
 * Load a model of files that were sent; returns its name on the page. `onWaiting` is told in words
 * how far the download is of what these need besides.
 * @param {AbortSignal} signal
 * @param {(words: string) => void} [onWaiting]
 */
export async function loadFiles(order, signal, onWaiting) {
  for await (const line of linesOf("models", order, signal)) {
    if (line.model) return line.model;
    if (line.loading) onWaiting?.(waitingWords(/** @type {Loading} */ (line)));
  }
  throw new TypeError("no answer");
}

/**
 * What a figure shows as NumPy's file, whose metadata say of what it is.
 * @param {Result} result
 * @param {{ rows: any[][] }} saved as `Saved` of vit_explorer/page/payloads/downloads.py has it
 */
export async function makeNpz({ key }, saved) {
  // JSON knows no infinity; the server reads one by its name.
  const rows = saved.rows.map((row) => row.map((one) => (Number.isFinite(one) || typeof one !== "number" ? one : String(one))));
  return (await post(`results/${key}/figure.npz`, { ...saved, rows })).blob();
}

/**
 * Code that makes a figure of a result: an order is the figure's name and what is chosen for it.
 * @param {Result} result
 * @param {{ figure: string }} order
 * @returns {Promise<Code>}
 */
export const writeCode = ({ key }, order) => postJson(`results/${key}/code`, order);

/**
 * POST JSON; returns the answer's JSON, or throws the server's own sentence.
 * @param {AbortSignal | null} signal
 */
async function postJson(path, content, signal = null) {
  return (await post(path, content, signal)).json();
}

/** @param {AbortSignal | null} signal */
async function post(path, content, signal = null) {
  const response = await fetch(address(path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

/**
 * The names of all classes of a result's model, by its key.
 * @param {string} url
 * @param {string} model
 */
export async function readLabels(url, model) {
  if (!labels.has(model)) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`labels ${response.status}`);
    labels.set(model, await response.json());
  }
  return labels.get(model);
}

/** What a data set is that the server holds. */
export async function readHeldSet(key) {
  const response = await fetch(address(`data/${key}`));
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** What a model says of each example, and whether that is in the picture. */
export async function readJudged(path) {
  const response = await fetch(address(path));
  if (!response.ok) throw new Error(`examples ${response.status}`);
  return response.json();
}

/** What can be trained and the runs there are. */
export async function readTraining() {
  const response = await fetch(address("training"));
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/**
 * Runs side by side: their curves, what differs, and which is better.
 * @param {string[]} runs
 * @returns {Promise<ComparedRuns>}
 */
export async function compareRuns(runs) {
  const asked = new URLSearchParams(runs.map((run) => ["run", run]));
  const response = await fetch(address(`training/compared?${asked}`));
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** Hold a picture of a data set as one that was sent; returns its key. */
export const takePicture = async (path) => (await postJson(`data/${path}`, {})).picture;

/** Start, stop or resume a training; returns the run under way, or throws the server's sentence. */
export const orderTraining = (order) => postJson("training/orders", order);
