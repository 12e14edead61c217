// Spearman's rank correlation, as scipy.stats.spearmanr has it.

/** Ranks from 1; equal values share the mean of theirs. */
export function ranks(values) {
  const order = Array.from(values, (_, at) => at).sort((a, b) => values[a] - values[b]);
  const found = new Float64Array(values.length);
  for (let first = 0; first < order.length; ) {
    let last = first;
    while (last + 1 < order.length && values[order[last + 1]] === values[order[first]]) last += 1;
    for (let at = first; at <= last; at += 1) found[order[at]] = (first + last) / 2 + 1;
    first = last + 1;
  }
  return found;
}

/** The correlation of two rankings, -1 to 1; null where all of one's are equal, or of other lengths. */
export function correlation(one, other) {
  if (one.length !== other.length) return null;
  const middle = (one.length + 1) / 2;
  let [both, first, second] = [0, 0, 0];
  for (let at = 0; at < one.length; at += 1) {
    const [a, b] = [one[at] - middle, other[at] - middle];
    both += a * b;
    first += a * a;
    second += b * b;
  }
  return first && second ? both / Math.sqrt(first * second) : null;
}
