// Points in a plane, drawn by groups; the one under the pointer is told beside it.

import { el, fitCanvas, keepSize, replace, setText } from "../../base/dom.js";
import { classColour, frequentClasses } from "../../maps/class_colours.js";
import { range } from "../../maps/pixels.js";

const SIDE = 4; // of a point, in CSS pixels
const REACH = 14; // how far from a point the pointer still means it
const PADDING = 10;
export const OTHER = -1; // of a point, to belong to no value

/**
 * What is drawn: where each point is, the group it belongs to (an index into `entries`, the first
 * drawn first), and whether it is hollow.
 * @typedef {object} Drawn
 * @property {number[]} x
 * @property {number[]} y
 * @property {number[]} groups
 * @property {{ colour: string, name?: string, outlined?: boolean }[]} entries without a name, not in the
 *   legend; outlined there, where all its points are hollow
 * @property {(at: number) => boolean} [hollow]
 */

/**
 * @param {object} given
 * @param {string} given.label
 * @param {(at: number) => { url: string, words: string, cell?: number[] } | null} given.tell the
 *   picture of a point, a part of it (left, top, right, bottom, as shares), and words
 */
export function createPointCloud({ label, tell }) {
  const canvas = el("canvas", {
    class: "data-points",
    role: "img",
    "aria-label": label,
    onpointermove: point,
    onpointerleave: () => mark(-1),
    onclick: point,
  });
  const legend = el("p", { class: "note data-legend" });
  const frame = el("span", { class: "data-tip-picture" });
  const picture = el("img", {
    alt: "",
    onload: () => frame.style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight)),
  });
  const cell = el("span", { class: "data-tip-cell" });
  const says = el("span");
  const tip = el("figure", { class: "data-tip", hidden: true }, frame, says);
  frame.append(picture, cell);
  const node = el("div", { class: "data-points-box" }, canvas, tip);
  const size = keepSize(node, () => drawn && paint());
  let placed = new Float32Array(0); // x and y of each point, in CSS pixels
  /** @type {Drawn | null} */
  let drawn = null;

  function point(event) {
    const bounds = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let [best, least] = [-1, REACH ** 2];
    for (let at = 0; at < placed.length; at += 2) {
      const far = (placed[at] - x) ** 2 + (placed[at + 1] - y) ** 2;
      if (far < least) [best, least] = [at / 2, far];
    }
    mark(best);
  }

  /** @param {number} at */
  function mark(at) {
    const told = at < 0 ? null : tell(at);
    tip.hidden = !told;
    if (!told) return;
    if (picture.getAttribute("src") !== told.url) picture.src = told.url;
    cell.hidden = !told.cell;
    if (told.cell) {
      const [left, top, right, bottom] = told.cell.map((share) => 100 * share);
      Object.assign(cell.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    }
    setText(says, told.words);
    const [x, y] = placed.subarray(2 * at, 2 * at + 2);
    tip.style.left = `${x}px`;
    tip.style.top = `${y}px`;
    tip.classList.toggle("leftwards", x > size.width / 2);
    tip.classList.toggle("upwards", y > size.height / 2);
  }

  function paint() {
    if (!drawn || !size.width) return;
    const { groups, entries, hollow = () => false } = drawn;
    const [wide] = fitCanvas(canvas, size.width, size.height);
    const ratio = wide / size.width;
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    placed = placedIn(drawn, size);
    const side = SIDE * ratio;
    brush.lineWidth = ratio;
    for (const [at, { colour }] of entries.entries()) {
      brush.fillStyle = colour;
      brush.strokeStyle = colour;
      for (let one = 0; one < groups.length; one += 1) {
        if (groups[one] !== at) continue;
        const [left, top] = [placed[2 * one] * ratio - side / 2, placed[2 * one + 1] * ratio - side / 2];
        if (hollow(one)) brush.strokeRect(left, top, side, side);
        else brush.fillRect(left, top, side, side);
      }
    }
  }

  /** @param {Drawn} next */
  function show(next) {
    drawn = next;
    mark(-1);
    const named = next.entries.filter(({ name }) => name);
    replace(legend, named.map(({ colour, name, outlined }) => {
      const key = el("span", { class: outlined ? "data-key outlined" : "data-key" }, name);
      key.style.setProperty("--colour", colour);
      return key;
    }));
    paint();
  }
  return { node, legend, show };
}

/**
 * Points by a value each: the commonest values have a colour each, all others are grey and below.
 * @param {number[]} values
 * @param {{ name: (value: number) => string, others: string, grey: string }} words
 */
export function groupsByValue(values, { name, others, grey }) {
  const known = frequentClasses(values.filter((one) => one !== OTHER));
  const groups = values.map((one) => 1 + known.indexOf(one));
  const rest = { colour: grey, name: groups.includes(0) ? others : undefined };
  return { groups, entries: [rest, ...known.map((one) => ({ colour: classColour(known, one), name: name(one) }))] };
}

/** Where each point stands, the whole within the box. */
function placedIn({ x, y }, { width, height }) {
  const found = new Float32Array(2 * x.length);
  const along = (values, whole, at, flipped) => {
    const [low, high] = range(values);
    values.forEach((value, one) => {
      const share = high > low ? (value - low) / (high - low) : 0.5;
      found[2 * one + at] = PADDING + (flipped ? 1 - share : share) * (whole - 2 * PADDING);
    });
  };
  along(x, width, 0, false);
  along(y, height, 1, true);
  return found;
}
