// A model of the gallery: what it teaches, what is known of it, and its loading where it stands.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { createProgress } from "../controls/progress.js";

const MB = 1e6;
const GAP = " · ";

/** Megabytes with one decimal, as a number that a language writes in its own way. */
const inMegabytes = (bytes) => Math.round((bytes / MB) * 10) / 10;

/**
 * @param {Exhibit} exhibit
 * @param {{ load: (name: string) => void, stop: () => void }} does
 */
export function createModelCard(exhibit, does) {
  const { name, title, lacks } = exhibit;
  const here = el("p", { class: "model-here" });
  const progress = createProgress(t("gallery.downloading", { title }), "gallery.progress");
  const wrong = el("p", { class: "wrong", role: "alert" });
  const load = el("button", { type: "button", onclick: () => does.load(name), disabled: Boolean(lacks) });
  const stop = el(
    "button",
    { type: "button", hidden: true, "aria-label": t("gallery.stop.of", { title }), onclick: does.stop },
    t("action.stop"),
  );
  const node = el(
    "li",
    { class: "card model-card", dataset: { model: name } },
    el("h3", {}, title),
    el("p", { class: "model-facts" }, factsOf(exhibit)),
    el("p", {}, t(`gallery.teaches.${name}`)),
    here,
    wrong,
    el("div", { class: "model-actions" }, load, stop, progress.node),
  );
  let known = exhibit;
  let shown = false;
  say();

  function say() {
    const begun = known.part && !known.here;
    setText(here, stop.hidden ? hereOf(known, shown) : "");
    setText(load, t(begun ? "gallery.go_on" : "action.load"));
    load.setAttribute("aria-label", t(begun ? "gallery.go_on.of" : "gallery.load.of", { title }));
    load.hidden = shown || !stop.hidden;
  }

  /**
   * Say what of it is on the server now.
   * @param {Exhibit} facts
   */
  function learn(facts) {
    known = facts;
    say();
  }

  /** Show that it loads: `line` is the server's last word on it, null before the first. */
  function wait(line) {
    const total = line?.total ?? null;
    if (total) known = { ...known, part: line.here };
    progress.show({ done: total && inMegabytes(line.here), total: total && inMegabytes(total) });
    turn(true);
  }

  /** Show that nothing of it is under way, and what went wrong, where something just did. */
  function rest(problem = "") {
    progress.show(null);
    turn(false);
    if (problem) setText(wrong, problem);
  }

  /** Whoever was at the one button is at the other. */
  function turn(waiting) {
    if (stop.hidden !== waiting) return;
    const within = node.contains(document.activeElement);
    stop.hidden = !waiting;
    if (waiting) setText(wrong, "");
    say();
    if (within) (waiting ? stop : load).focus();
  }

  /** Mark the model that the page shows. */
  function mark(model) {
    shown = model === name;
    node.dataset.shown = String(shown);
    say();
  }
  return { node, name, learn, wait, rest, mark };
}

/** @param {Exhibit} exhibit */
function factsOf({ name, size, classes, image_size: [height, width] }) {
  const known = classes === null ? "words" : classes ? "classes" : "embedding";
  return el(
    "span",
    {},
    [
      t("gallery.size", { size: inMegabytes(size).toLocaleString() }),
      t(`gallery.${known}`, { count: classes?.toLocaleString() ?? "" }),
      t("gallery.pixels", { height, width }),
    ].join(GAP),
    el("code", {}, name),
  );
}

/**
 * @param {Exhibit} exhibit
 * @param {boolean} shown
 */
function hereOf({ here, size, part, lacks }, shown) {
  if (lacks) return t("gallery.lacks", { package: lacks });
  if (shown) return t("gallery.shown");
  if (here) return t("gallery.here");
  if (!part) return t("gallery.away");
  const [come, whole] = [part, size].map((bytes) => inMegabytes(bytes).toLocaleString());
  return t("gallery.part", { here: come, total: whole });
}
