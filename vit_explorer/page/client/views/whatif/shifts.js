// Classes with their probability before and after a change, and an arrow from one to the other.

import { nameOf } from "../../base/class_names.js";
import { el, replace, setText } from "../../base/dom.js";
import { setShare } from "../../charts/share_bar.js";

// A change smaller than what the numbers show is none: of a probability, or of a value's size.
const NOTHING = 0.0005;

export function createShifts() {
  const rows = el("ol", { class: "shifts" });
  let built = "";
  let parts = [];

  function rebuild(classes, barred) {
    parts = classes.map(({ label, index }) => {
      const track = el("span", { class: "shift-track" }, el("span", { class: "shift-arrow" }));
      const [before, after] = [el("span"), el("strong")];
      const numbers = el("span", { class: "shift-numbers" }, before, " → ", after);
      const node = el(
        "li",
        { class: "shift", dataset: { index: String(index) } },
        el("span", { class: "label", title: nameOf(label) }, nameOf(label)),
        numbers,
        barred ? track : null,
      );
      return { node, before, after, track };
    });
    replace(
      rows,
      parts.map((part) => part.node),
    );
  }

  /** `write` makes words of the numbers; bars, from 0 to 1, stand under those that are `barred`. */
  function draw({ rows: classes, target }, { write, barred }) {
    const key = [barred, ...classes.map(({ index, label }) => `${index} ${label}`)].join();
    if (key !== built) rebuild(classes, barred);
    built = key;
    classes.forEach((each, at) => {
      const { node, before, after, track } = parts[at];
      setText(before, write(each.before));
      setText(after, write(each.after));
      node.classList.toggle("shift-target", each.index === target);
      node.dataset.way = way(each);
      setShare(track, each.before, "--before");
      setShare(track, each.after, "--after");
    });
  }
  return { node: rows, draw };
}

/** "falls", "rises" or "stays". */
export function way({ before, after }) {
  const size = Math.max(Math.abs(before), Math.abs(after));
  if (Math.abs(after - before) < NOTHING * Math.max(1, size)) return "stays";
  return after < before ? "falls" : "rises";
}
