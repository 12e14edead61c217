// The pixels alone; it takes the keyboard for all maps, so that one stop is enough.

import { el, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { list, sentences, t } from "../../base/words.js";
import { pixelKind, leftOver, pictureNote } from "../../controls/channels.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { cellOf, tokenName, valueAt } from "../../maps/geometry.js";
import { mapTitle, shownMaps } from "../../state/chosen_maps.js";
import { queryToken } from "../../state/store.js";

/**
 * @param {Context} context
 * @param {Result} result
 */
export function createSeenCard({ store, setup }, { seen, model, picture }) {
  const { channels } = model;
  const values = { channels, width: seen.width, height: seen.height, patches: model.grid.join("×") };
  const text = sentences(
    t(`explain.seen.caption.${pixelKind(model)}`, values),
    leftOver(model),
    pictureNote(picture),
  );
  const says = el("p", { class: "visually-hidden", "aria-live": "polite" });
  const canvas = createPatchCanvas({ store, label: t("explain.seen.keys"), paint, region });

  /**
   * @param {State} state
   * @param {number} width
   * @param {number} height
   */
  function region(state, width, height) {
    if (!state.whole) return [0, 0, width, height];
    const scale = Math.min(width / seen.width, height / seen.height);
    const [left, top] = [(width - seen.width * scale) / 2, (height - seen.height * scale) / 2];
    return [left, top, width - left, height - top];
  }

  /**
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(context, width, height, state) {
    const [left, top, right, bottom] = region(state, width, height);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = seen.width >= 128;
    context.drawImage(state.seen, left, top, right - left, bottom - top);
  }

  /** @param {State} state */
  function draw(state) {
    canvas.draw();
    const query = queryToken(state);
    const cell = cellOf(model, query);
    if (!cell) return;
    const found = shownMaps(state, setup).map(
      (map) => `${mapTitle(map.id)} ${short(valueAt(map, model, query))}`,
    );
    setText(says, `${tokenName(model, query)}: ${list(found)}`);
  }

  const node = el(
    "figure",
    { class: "card card-seen" },
    el("div", { class: "card-picture" }, canvas.canvas),
    el(
      "figcaption",
      {},
      el("h3", {}, t("explain.seen")),
      el("p", { class: "caption" }, text),
      says,
    ),
  );
  return { node, draw, focus: () => canvas.canvas.focus() };
}
