// By which values the two sides are coloured.

/**
 * A share is a share in any model, though the more patches there are, the less is left for each; an even
 * spread is the same in all of them. So shares are set side by side in multiples of an even share,
 * which is 1 over the number of patches. Cosines need no such measure; other numbers are a model's own.
 * @param {SideMap} map
 */
const evenly = ({ unit, values }) => (unit === "share" ? values.length : 1);

/** @typedef {Pick<Heatmap, "values" | "limits" | "signed" | "unit" | "name"> & Partial<Heatmap> & { components?: ReturnType<typeof import("../../maps/component_colours.js").componentsAt> }} SideMap */

/**
 * Whether two maps can stand on one scale.
 * @param {SideMap | null} one
 * @param {SideMap | null} two
 */
export const comparable = (one, two) => Boolean(one && two && one.unit === two.unit);

/**
 * The limits of each side's colours in its own values, where `shared` is wanted and can be had: the same
 * colour then means as much on both sides; null where each map keeps its own.
 * @param {SideMap | null} one
 * @param {SideMap | null} two
 * @param {boolean} shared
 * @returns {[Pair, Pair] | null}
 */
export function sharedLimits(one, two, shared) {
  if (!shared || !one || !two || !comparable(one, two)) return null;
  const all = [one, two].flatMap((map) => map.limits.map((value) => value * evenly(map)));
  const both = [Math.min(...all), Math.max(...all)];
  const [first, second] = [one, two].map(
    (map) => /** @type {Pair} */ (both.map((value) => value / evenly(map))),
  );
  return [first, second];
}

/**
 * How often a value holds an even share, where that is what its map counts in; else null.
 * @param {SideMap} map
 * @param {number} value
 */
export const timesEven = (map, value) => (map.unit === "share" ? value * evenly(map) : null);
