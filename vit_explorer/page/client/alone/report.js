// The one script of a report: its figures, of what the file itself holds.

import { speakWords } from "../base/words.js";
import { setTables } from "../maps/colours.js";
import { bytesOf, showFigure } from "./figure.js";

const STEPS = 65535; // as explaining/report.py has them

/** Draw the figure of each of the document's sections. */
export function start() {
  const held = JSON.parse(document.getElementById("data").textContent);
  speakWords(held.words);
  setTables(held.look);
  for (const [at, section] of document.querySelectorAll("section").entries()) {
    const told = held.results[at];
    const figure = /** @type {HTMLElement} */ (section.querySelector(".figure"));
    figure.replaceChildren();
    showFigure(figure, told, told.attention && layersOf(told.attention));
  }
}

/** What gives a layer's rows by its path, of what a file holds: steps of each row's largest. */
export function layersOf({ heads, tokens, levels, scales }) {
  const steps = new Uint16Array(bytesOf(levels).buffer);
  const largest = new Float32Array(bytesOf(scales).buffer);
  const rows = heads * tokens;
  return async (path) => {
    const first = Number(path.split("/")[1]) * rows;
    const own = steps.subarray(first * tokens, (first + rows) * tokens);
    const attention = Float32Array.from(own, (step, at) => (step / STEPS) * largest[first + Math.floor(at / tokens)]);
    return { arrays: { attention } };
  };
}
