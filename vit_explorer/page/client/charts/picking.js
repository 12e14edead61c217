// Which of many dots is meant: small ones that overlap can't be hit one by one.

/** @typedef {{ x: number, y: number, layer: number, head: number, value: number }} HeadDot */

// In pixels: farther from every dot than this, none is meant.
const REACH = 24;

/**
 * The dot nearest to a place, or null where none is near.
 * @template {{ x: number, y: number }} T
 * @param {T[]} dots
 * @param {Pair} place
 */
export function nearestDot(dots, [x, y], reach = REACH) {
  const far = (one) => Math.hypot(one.x - x, one.y - y);
  const best = dots.reduce(
    (one, other) => (one === null || far(other) < far(one) ? other : one),
    /** @type {T | null} */ (null),
  );
  return best && far(best) <= reach ? best : null;
}

/**
 * The heads with the least and the most of a measure, the first of equals; null where there is none.
 * @param {[layer: number, values: Numbers][]} layers
 */
export function extremeHeads(layers) {
  const all = layers.flatMap(([layer, values]) =>
    Array.from(values, (value, head) => ({ layer, head, value })),
  );
  const known = all.filter(({ value }) => Number.isFinite(value));
  if (!known.length) return null;
  const best = (better) => known.reduce((one, other) => (better(other.value, one.value) ? other : one));
  return { least: best((a, b) => a < b), most: best((a, b) => a > b) };
}
