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
const PATIENCE = 4000;

/**
 * The one event that needs the model. Answers carry the number of their request, so that a late one
 * is told from the newest.
 */
export function createAnalyser({ props, trigger, watch }, { onStage, onError, onResult }) {
  let newest = 0;
  let waiting = 0;
  watch("value", () => {
    if (props.value?.request !== newest) return;
    // A copy of our own: Gradio watches its value, and turns it to JSON at every change.
    const answer = JSON.parse(JSON.stringify(props.value));
    if (!answer.stage) clearInterval(waiting);
    if (answer.error) onError(answer.error, answer.part);
    else if (answer.result) onResult(answer.result);
    else onStage(answer.stage);
  });
  async function checkServer() {
    try {
      await fetch(address("static/favicon.svg"), { method: "HEAD", cache: "no-store" });
    } catch {
      clearInterval(waiting);
      onError(t("state.offline"));
    }
  }

  return (wanted) => {
    newest += 1;
    clearInterval(waiting);
    waiting = setInterval(checkServer, PATIENCE);
    trigger("analyze", { request: newest, ...wanted });
  };
}
