// What a newcomer reads first: what this is, something true of this picture, and what to beware of.

import { nameOf } from "../../base/class_names.js";
import { el, setText } from "../../base/dom.js";
import { told } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { patchCount } from "../../maps/geometry.js";
import { mapOf } from "../../state/analyses.js";
import { chosenIds } from "../../state/chosen_maps.js";
import { strongestPatch } from "./strongest.js";

// Fewer maps than this don't agree, they happen to.
const FEWEST = 3;

/** @param {Context} context */
export function createLead({ setup }) {
  const what = el("span");
  const peak = el("span");
  const gap = t("gap");
  const node = el("p", { class: "lead" }, what, gap, peak, gap, t("explain.lead.caveat"));

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    setText(what, describeModel(result));
    const maps = chosenIds(state, setup).map((id) => mapOf(result, id)).filter(Boolean);
    const found = commonPeak(maps, result.model);
    setText(peak, found ? t("explain.lead.peak", found) : "");
  }
  return { node, draw };
}

/**
 * What the model is and what it answers.
 * @param {Result} result
 */
function describeModel({ model, predictions }) {
  const kind = model.tier === 1 ? "cuts" : "stages";
  const first = predictions[0];
  const values = { count: patchCount(model), label: first && nameOf(first.label), share: first && told(first) };
  return t(`explain.lead.${kind}${first ? "" : ".silent"}`, values);
}

/**
 * The patch on which most maps are strongest, and how many of all those are that point at one; null
 * where no two of enough maps agree.
 * @param {Heatmap[]} maps
 * @param {Model} model
 */
export function commonPeak(maps, model) {
  const places = maps.map((map) => strongestPatch(map, model)).filter((place) => place !== null);
  const counts = new Map();
  for (const place of places) counts.set(place.join(), (counts.get(place.join()) ?? 0) + 1);
  const [where, some] = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one), ["", 0]);
  if (places.length < FEWEST || some < 2) return null;
  const [row, column] = where.split(",").map(Number);
  return { some, all: places.length, row: row + 1, column: column + 1 };
}
