// How far some work is: a bar and two numbers, in a place that is kept.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";

/**
 * @param {string} label
 * @param {string} said the key of the words that say how many are done, and of how many
 */
export function createProgress(label, said = "progress.done") {
  const bar = el("progress", { "aria-label": label, max: "1" });
  const words = el("span", { class: "progress-words" });
  const node = el("span", { class: "progress", hidden: true }, bar, words);

  /** Show a job of analyses.js; null hides the bar. */
  function show(job) {
    node.hidden = !job;
    if (!job) return;
    if (job.total === null) bar.removeAttribute("value");
    else bar.value = job.done / job.total;
    const [done, total] = [job.done, job.total].map((count) => count?.toLocaleString());
    setText(words, job.total === null ? t("progress.begin") : t(said, { done, total }));
  }
  return { node, show };
}
