// Everything the page asks its server. Pictures and attention travel as bytes; analysing is one event.

import { t } from "./words.js";

const ROOT = new URL("explorer/", document.baseURI);

export const address = (path) => new URL(path, ROOT).href;

export async function readSetup() {
  const response = await fetch(address("setup"));
  if (!response.ok) throw new Error(`setup ${response.status}`);
  return response.json();
}

/** Send a picture's bytes; returns its key, or throws the server's own sentence. */
export async function sendPicture(file) {
  const response = await fetch(address(`pictures?name=${encodeURIComponent(file.name ?? "")}`), {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer.picture;
}

/** The names of all classes of a result's model. */
export async function readLabels(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`labels ${response.status}`);
  return response.json();
}

export async function readFloats(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status}`);
  return new Float32Array(await response.arrayBuffer());
}

/** A training film's bytes, or throws the server's own sentence. */
export async function readFilm(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error((await response.json()).error ?? t("state.offline"));
  return response.arrayBuffer();
}

/** What can be trained and the runs there are; with `now`, only the run under way. */
export async function readTraining(now = false) {
  const response = await fetch(address(now ? "training/now" : "training"));
  if (!response.ok) throw new Error(`training ${response.status}`);
  return response.json();
}

/** Start, stop or resume a training; returns the run under way, or throws the server's sentence. */
export async function orderTraining(order) {
  const response = await fetch(address("training/orders"), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// An event whose server is gone is never answered, so a long wait asks whether it is still there.
const PATIENCE = 2500;

/**
 * The one event that needs the model. Answers carry the number of their request, so that a late one
 * is told from the newest.
 */
export function createAnalyser({ props, trigger, watch }, { onStage, onError, onResult }) {
  let newest = 0;
  let waiting = 0;
  let asked = null;
  let heard = false;
  watch("value", () => {
    if (!asked || props.value?.request !== newest) return;
    // A copy of our own: Gradio watches its value, and turns it to JSON at every change.
    const answer = JSON.parse(JSON.stringify(props.value));
    if (answer.stage) {
      heard = true;
      onStage(answer.stage);
      return;
    }
    clearInterval(waiting);
    asked = null;
    if (answer.error) onError(answer.error, answer.part);
    else onResult(answer.result);
  });
  async function checkServer() {
    const request = newest;
    try {
      await fetch(address("static/favicon.svg"), { method: "HEAD", cache: "no-store" });
    } catch {
      clearInterval(waiting);
      onError(t("state.offline"));
      return;
    }
    // Gradio loses the answers of an event that joins its queue just as its stream closes. Asking
    // again costs nothing: the server holds what it has worked out.
    if (asked && !heard && request === newest) trigger("analyze", asked);
  }

  return (wanted) => {
    newest += 1;
    asked = { request: newest, ...wanted };
    heard = false;
    clearInterval(waiting);
    waiting = setInterval(checkServer, PATIENCE);
    trigger("analyze", asked);
  };
}
