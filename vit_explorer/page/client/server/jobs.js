// Whatever takes the server time: its answer comes line by line, and to hang up is to stop it.

import { address } from "../base/address.js";
import { percent } from "../base/format.js";
import { said, t } from "../base/words.js";
import { Refusal, refusal } from "./refusal.js";

/**
 * The lines of a job's answer, in their order; throws the server's sentence where one is a refusal.
 * @param {string} path
 * @param {object | null} order what is posted; null to get
 * @param {AbortSignal} signal aborting it stops the job
 * @returns {AsyncGenerator<Record<string, any>>}
 */
export async function* linesOf(path, order, signal) {
  const posted = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
  };
  const response = await fetch(address(path), { ...(order ? posted : {}), signal });
  if (!response.ok) throw await refusal(response);
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value = "" } = await reader.read();
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    // An empty one only keeps proxies from hanging up.
    for (const line of lines) if (line) yield told(JSON.parse(line));
    if (done) return;
  }
}

function told(line) {
  if (line.error) throw new Refusal(said(line.error), line.part, line.instead);
  return line;
}

/**
 * What a model is waited for with: the share of its download, or how long it has taken.
 * @param {Loading} line
 */
export function waitingWords({ loading: model, seconds, here = 0, total = 0 }) {
  if (!total) return t("state.loading", { model, seconds });
  const [come, whole] = [here, total].map((bytes) => (bytes / 1e6).toFixed(1));
  return t("state.downloading", { model, here: come, total: whole, share: percent(here / total) });
}

/**
 * Ask for explanations, the newest only: to ask again, or to stop, hangs up on the one before.
 * `onLoading(sentence, line)` while a model comes, `onError(sentence, part, instead)` or `onResult(result)`;
 * `offline()` is what to say where there is no server.
 */
export function createAnalyser({ offline, onLoading, onError, onResult }) {
  let caller = new AbortController();
  /** @param {Loading} line */
  const tellWaiting = (line) => onLoading(waitingWords(line), line);

  /** @param {Place} wanted */
  async function ask(wanted) {
    caller.abort();
    caller = new AbortController();
    const { signal } = caller;
    try {
      for await (const line of linesOf("explanations", wanted, signal)) {
        if (line.loading) tellWaiting(/** @type {Loading} */ (line));
        if (line.result) onResult(line.result);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof TypeError) onError(offline());
      else onError(error.message, error.part, error.instead);
    }
  }

  return { ask, stop: () => caller.abort() };
}
