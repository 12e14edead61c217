// A map that is not here yet: what it would show, a button to make it, and how far the making is.

import { el, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { createProgress } from "../../controls/progress.js";
import { analysesOf, jobOf, stop } from "../../state/analyses.js";
import { askForMap, mapTitle } from "../../state/chosen_maps.js";
import { mapRegion } from "./map_card.js";

/** @param {Context} context */
export function createWaitingCard({ store }, id) {
  const title = mapTitle(id);
  const [name] = id.split("@");
  const label = t("explain.waiting", { title });
  const canvas = createPatchCanvas({ store, label, paint, region: mapRegion, keyboard: false });
  const words = el("p", { role: "status" });
  const progress = createProgress(title);
  const button = el("button", { type: "button", class: "primary", onclick: press });
  const node = el(
    "figure",
    { class: "card card-waiting", dataset: { method: name, id } },
    el(
      "div",
      { class: "card-picture" },
      canvas.canvas,
      el("div", { class: "card-work" }, words, progress.node, button),
    ),
    el(
      "figcaption",
      {},
      el("h3", {}, title),
      el("p", { class: "caption" }, t(`method.${name}.summary`)),
    ),
  );

  /**
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(context, width, height, state) {
    context.putImageData(state.image.pixels(width, height, state.whole), 0, 0);
  }

  function press() {
    const { result } = store.get();
    if (jobOf(result, id)) stop(result, id);
    else askForMap(result, id);
  }

  /** @param {State} state */
  function draw(state) {
    canvas.draw();
    const job = jobOf(state.result, id);
    const failed = analysesOf(state.result).failed[id];
    progress.show(job);
    setText(words, job ? "" : failed || t("explain.slow"));
    setText(button, t(job ? "action.stop" : "explain.run"));
    button.setAttribute("aria-label", t(job ? "explain.stop.one" : "explain.run.one", { title }));
  }
  return { node, draw, focus: () => button.focus() };
}
