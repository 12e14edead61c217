// One query in one head, worked out from the model's own query, keys and values.

/** Scores, softmax and weighted sum over all tokens, and how far they are from the model's own. */
export function workOut({ facts, arrays, shapes }) {
  const { query, key, value, bias, attention, output } = arrays;
  const [tokens, width] = shapes.key;
  const wide = shapes.value[1];
  const products = new Float64Array(tokens);
  const scores = new Float64Array(tokens);
  for (let n = 0; n < tokens; n += 1) {
    for (let c = 0; c < width; c += 1) products[n] += query[c] * key[n * width + c];
    scores[n] = products[n] * facts.scale + (bias ? bias[n] : 0);
  }
  const highest = scores.reduce((one, other) => Math.max(one, other));
  const powers = scores.map((score) => Math.exp(score - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  const shares = powers.map((power) => power / total);
  const mixed = new Float64Array(wide);
  for (let n = 0; n < tokens; n += 1) {
    for (let c = 0; c < wide; c += 1) mixed[c] += shares[n] * value[n * wide + c];
  }
  return {
    products,
    scores,
    highest,
    powers,
    total,
    shares,
    mixed,
    error: Math.max(furthest(mixed, output), furthest(shares, attention)),
  };
}

const furthest = (one, other) =>
  one.reduce((most, value, at) => Math.max(most, Math.abs(value - other[at])), 0);

/** The places of the largest values, the largest first. */
export function largest(values, count) {
  return [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
}

/** Spearman's rank correlation of two maps of one grid: 1 the same order, -1 the opposite. */
export function rankCorrelation(one, other) {
  const [a, b] = [ranks(one), ranks(other)];
  const middle = (a.length - 1) / 2;
  let [both, first, second] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    both += (a[i] - middle) * (b[i] - middle);
    first += (a[i] - middle) ** 2;
    second += (b[i] - middle) ** 2;
  }
  return first && second ? both / Math.sqrt(first * second) : 0;
}

/** Equal values share the mean of their ranks. */
function ranks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const result = new Float64Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let at = start; at < end; at += 1) result[order[at]] = (start + end - 1) / 2;
    start = end;
  }
  return result;
}
