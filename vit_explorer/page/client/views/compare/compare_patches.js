// What Compare shows of patches across two pictures of one model: their components as colours on one
// basis, and where a patch of the first has its like in the second.

import { cosine, percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { zoomedToken } from "../../controls/patch_zoom.js";
import { componentsAt } from "../../maps/component_colours.js";
import { cellOf, extremePatch, tokenName } from "../../maps/geometry.js";
import { maximum } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";

export const PATCH_PARTS = ["components", "features", "query_key"];

/** @param {string} part */
export const ofPatches = (part) => PATCH_PARTS.includes(part);

/**
 * Whether both sides are of one model, which alone compares their patches.
 * @param {State} root the page's own state, whose result is the first
 */
export const sameModel = ({ result, other }) => !other || other.result.model.key === result.model.key;

/**
 * A side's map of patches: null until it is here or where there is none.
 * @param {State} state the side's
 * @param {State} root
 * @returns {import("./compare_scale.js").SideMap | null}
 */
export function patchMap(state, root) {
  const { comparePart: part, result } = state;
  if (!sameModel(root)) return null;
  return part === "components" ? componentsOf(result, root) : matchesOf(part, result, root);
}

/**
 * @param {Result} result
 * @param {State} root
 * @returns {import("./compare_scale.js").SideMap | null}
 */
function componentsOf(result, root) {
  const other = otherThan(result, root);
  const found = numbersOf(result, ["features", ...(other ? [other.key] : [])].join("/"));
  if (!found?.arrays) return null;
  const components = componentsAt(found, root.layer);
  // Colours have no scale of one number, so no other side's goes with it.
  const unit = `components of ${result.key}`;
  return {
    values: components.scores.filter((_, at) => at % 3 === 0),
    limits: [0, 1],
    signed: false,
    unit,
    name: "components",
    components,
  };
}

/**
 * The first side shows the patch's like in its own picture, the second in the other.
 * @param {string} part
 * @param {Result} result
 * @param {State} root
 * @returns {import("./compare_scale.js").SideMap | null}
 */
function matchesOf(part, result, root) {
  const path = `matches/${part}/${root.layer}/${zoomedToken(root)}/${result.key}`;
  const values = numbersOf(root.result, path)?.arrays?.similarity;
  if (!values) return null;
  if (part === "features") return { values, limits: [0, 1], signed: false, unit: "cosine", name: "cosine" };
  return { values, limits: [0, maximum(values) || 1], signed: false, unit: "share", name: "attention" };
}

/**
 * The result beside this one, null while there is none.
 * @param {Result} result
 * @param {State} root
 */
function otherThan(result, { result: first, other }) {
  return (result === first ? other?.result : first) ?? null;
}

/**
 * The token of the patch that is most like the first picture's, that patch itself left out.
 * @param {Result} result
 * @param {State} root
 */
export function nearestToken(result, root, { values }) {
  const { model } = result;
  const others = Float32Array.from(values);
  if (result === root.result) others[zoomedToken(root) - model.prefix.length] = -2;
  return extremePatch(others, 0) + model.prefix.length;
}

/**
 * @param {State} state the side's
 * @param {State} root
 * @param {import("./compare_scale.js").SideMap} map
 */
export function describePatches(state, root, map) {
  const { comparePart: part, result } = state;
  if (part === "components") return "";
  const best = nearestToken(result, root, map);
  const [row, column] = cellOf(result.model, best).map((at) => at + 1);
  const value = map.values[best - result.model.prefix.length];
  return t(`compare.says.${part}.${result === root.result ? "same" : "other"}`, {
    token: tokenName(root.result.model, zoomedToken(root)),
    row,
    column,
    value: part === "features" ? cosine(value) : percent(value),
  });
}

/**
 * What copied code makes.
 * @param {State} state the side's
 * @param {State} root
 */
export function patchCode({ comparePart: part, result }, root) {
  const { layer } = root;
  if (part === "components")
    return { figure: "feature-components", layer, other: otherThan(result, root)?.key ?? null };
  const place = cellOf(root.result.model, zoomedToken(root));
  return { figure: "patch-matches", by: part, layer, place, other: root.result.key };
}
