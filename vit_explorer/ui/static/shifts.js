// Classes with their probability before and after a change, and an arrow from one to the other.

import { el, replace, setText } from "./dom.js";
import { percent } from "./format.js";

// A change smaller than what the numbers show is none.
const NOTHING = 0.0005;

export function createShifts() {
  const rows = el("ol", { class: "shifts" });
  let built = "";
  let parts = [];

  function rebuild(classes) {
    parts = classes.map(({ label, index }) => {
      const track = el("span", { class: "shift-track" }, el("span", { class: "shift-arrow" }));
      const [before, after] = [el("span"), el("strong")];
      const numbers = el("span", { class: "shift-numbers" }, before, " → ", after);
      const node = el(
        "li",
        { class: "shift", dataset: { index: String(index) } },
        el("span", { class: "label", title: label }, label),
        numbers,
        track,
      );
      return { node, before, after, track };
    });
    replace(
      rows,
      parts.map((part) => part.node),
    );
  }

  function draw({ rows: classes, target }) {
    const key = classes.map(({ index }) => index).join();
    if (key !== built) rebuild(classes);
    built = key;
    classes.forEach((each, at) => {
      const { node, before, after, track } = parts[at];
      setText(before, percent(each.before));
      setText(after, percent(each.after));
      node.classList.toggle("shift-target", each.index === target);
      node.dataset.way = way(each);
      track.style.setProperty("--before", String(each.before));
      track.style.setProperty("--after", String(each.after));
    });
  }
  return { node: rows, draw };
}

/** "falls", "rises" or "stays". */
export function way({ before, after }) {
  if (Math.abs(after - before) < NOTHING) return "stays";
  return after < before ? "falls" : "rises";
}
