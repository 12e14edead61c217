// The filters that patches are multiplied with.

import { el, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { waiting } from "../../controls/number_tables.js";
import { numbersOf } from "../../server/packed.js";

const COLUMNS = 7;

/** What patches are compared with: the embedding's principal components as colours. */
export function createFilters() {
  const canvas = el("canvas", { class: "filters pixelated", role: "img" });
  const text = el("p", { class: "caption" });
  const node = el("div", { class: "filter-box" }, el("h4", {}, t("patches.filters")), canvas, text);
  let drawn = "";

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    const found = numbersOf(result, "filters");
    const there = Boolean(found?.arrays?.filters);
    canvas.hidden = !there;
    if (!there) {
      setText(text, found?.facts ? t("patches.filters.none") : waiting(found));
      return;
    }
    if (drawn !== result.pass) paintFilters(canvas, found);
    drawn = result.pass;
    const share = found.facts.explained.reduce((sum, part) => sum + part, 0);
    const values = { count: found.shapes.filters[0], share: percent(share) };
    setText(text, t("patches.filters.text", values));
    canvas.setAttribute("aria-label", t("patches.filters"));
  }
  return { node, draw };
}

/** @param {HTMLCanvasElement} canvas */
function paintFilters(canvas, { arrays, shapes }) {
  const [count, high, wide] = shapes.filters;
  canvas.width = Math.min(count, COLUMNS) * (wide + 1) - 1;
  canvas.height = Math.ceil(count / COLUMNS) * (high + 1) - 1;
  const painter = canvas.getContext("2d");
  for (let index = 0; index < count; index += 1) {
    const image = new ImageData(wide, high);
    for (let at = 0; at < high * wide; at += 1) {
      const from = (index * high * wide + at) * 3;
      image.data.set([...arrays.filters.subarray(from, from + 3), 255], at * 4);
    }
    const [row, column] = [Math.floor(index / COLUMNS), index % COLUMNS];
    painter.putImageData(image, column * (wide + 1), row * (high + 1));
  }
}
