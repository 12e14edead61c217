// How far some work is: a bar and two numbers, in a place that is kept.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";

export function createProgress(label) {
  const bar = el("progress", { "aria-label": label, max: "1" });
  const words = el("span", { class: "progress-words" });
  const node = el("span", { class: "progress", hidden: true }, bar, words);

  /** Show a job of analyses.js; null hides the bar. */
  function show(job) {
    node.hidden = !job;
    if (!job) return;
    if (job.total === null) bar.removeAttribute("value");
    else bar.value = job.done / job.total;
    setText(words, job.total === null ? t("progress.begin") : t("progress.done", job));
  }
  return { node, show };
}
