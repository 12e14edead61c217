// Where a map's mass lies, in words: what `vit_explorer.render.describe` says, in the page's language.

import { t } from "../base/words.js";

const QUARTERS = {
  upper_left: [0, 0.5, 0, 0.5],
  upper_right: [0, 0.5, 0.5, 1],
  lower_left: [0.5, 1, 0, 0.5],
  lower_right: [0.5, 1, 0.5, 1],
  middle: [0.25, 0.75, 0.25, 0.75],
};
const HALVES = {
  upper: [0, 0.5, 0, 1],
  lower: [0.5, 1, 0, 1],
  left: [0, 1, 0, 0.5],
  right: [0, 1, 0.5, 1],
};

export function describeMap(title, values, grid, signed = false) {
  const words = signed
    ? t("map.signed", {
        plus: where(values.map((value) => Math.max(value, 0)), grid),
        minus: where(values.map((value) => Math.max(-value, 0)), grid),
      })
    : where(values, grid);
  return t("map.alt", { title, words });
}

function where(values, [rows, columns]) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) return t(low === 0 ? "map.zero" : "map.same");
  const mass = values.map((value) => (high > 0 ? Math.max(value, 0) : value - low));
  const total = mass.reduce((sum, value) => sum + value, 0);
  const share = mass.map((value) => value / total);
  const best = share.indexOf(Math.max(...share));
  const rest = t("map.rest", {
    half: halfCount(share),
    count: share.length,
    row: Math.floor(best / columns) + 1,
    column: (best % columns) + 1,
    share: rounded(share[best]),
  });
  // Quarters before halves: the smaller place says more.
  for (const [places, enough] of [
    [QUARTERS, 0.4],
    [HALVES, 0.6],
  ]) {
    const held = Object.entries(places).map(([name, edges]) => [
      name,
      heldIn(share, rows, columns, edges),
    ]);
    const [name, most] = held.reduce((one, other) => (other[1] > one[1] ? other : one));
    if (most >= enough)
      return t("map.held", { share: rounded(most), place: t(`map.place.${name}`), rest });
  }
  return t("map.spread", { rest });
}

function halfCount(share) {
  let [sum, count] = [0, 0];
  for (const value of share.slice().sort((a, b) => b - a)) {
    if (sum >= 0.5) break;
    sum += value;
    count += 1;
  }
  return count;
}

/** The mass inside a part of the grid, cells on its edge counted by their area inside. */
function heldIn(share, rows, columns, [top, bottom, left, right]) {
  const inside = (cell, cells, low, high) =>
    Math.min(1, Math.max(0, Math.min(cell + 1, high * cells) - Math.max(cell, low * cells)));
  let sum = 0;
  share.forEach((value, at) => {
    const down = inside(Math.floor(at / columns), rows, top, bottom);
    sum += value * down * inside(at % columns, columns, left, right);
  });
  return sum;
}

function rounded(share) {
  return `${share >= 0.01 ? (100 * share).toFixed(0) : Number((100 * share).toPrecision(1))}\u00a0%`;
}
