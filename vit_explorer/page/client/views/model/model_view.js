// Model: the card of what was detected, and the very pixels that entered the first layer.

import { el, fitCanvas, replace, setText } from "../../base/dom.js";
import { megabytes } from "../../base/format.js";
import { t } from "../../base/words.js";
import { facts, pixelSize } from "../../controls/model_facts.js";
import { cropAspect } from "../../maps/picture.js";
import { readMemory } from "../../server/requests.js";

/** @param {Context} context */
export function createModelView({ store }) {
  const name = el("h3");
  const lines = el("dl", { class: "facts" });
  const memory = el("p", { class: "note", title: t("memory.title") });
  const seen = el("img", { alt: t("model.saw") });
  const seenText = el("figcaption", { class: "caption" });
  const crop = el("canvas", { role: "img", "aria-label": t("model.crop") });
  const cropText = el("figcaption", { class: "caption" });
  const node = el(
    "section",
    { class: "view view-model", dataset: { look: "none" } },
    el(
      "div",
      { class: "card facts-card" },
      el("p", { class: "eyebrow" }, t("model.card")),
      name,
      lines,
      memory,
    ),
    el("figure", { class: "card" }, el("h3", {}, t("model.saw")), seen, seenText),
    el("figure", { class: "card" }, el("h3", {}, t("model.crop")), crop, cropText),
  );
  new ResizeObserver(() => drawCrop(store.get())).observe(crop);

  /** @param {State} state */
  function drawCrop(state) {
    if (!state.result || state.tab !== "model" || !crop.clientWidth) return;
    const [width, height] = fitCanvas(crop, crop.clientWidth, crop.clientHeight);
    state.image.draw(crop.getContext("2d"), width, height);
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "model") return;
    const { model, seen: pixels, box } = state.result;
    setText(name, model.name);
    replace(
      lines,
      facts(model).map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]).flat(),
    );
    node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
    seen.src = pixels.url;
    seen.className = pixels.width < 128 ? "pixelated" : "";
    const size = pixelSize([pixels.height, pixels.width]);
    setText(seenText, t("model.saw.caption", { size }));
    setText(
      cropText,
      t("model.crop.caption", { box: box.map((edge) => Math.round(edge)).join(", ") }),
    );
    drawCrop(state);
    showMemory();
  }

  async function showMemory() {
    try {
      const { process, kept } = await readMemory();
      setText(memory, t("memory", { process: megabytes(process), kept: megabytes(kept) }));
    } catch {
      setText(memory, ""); // A lost server is told of where something was asked of it.
    }
  }

  store.effect(draw);
  return { node };
}
