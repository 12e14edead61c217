// What was predicted of many pictures, a number a picture in typed arrays: counted, filtered, ordered.

/** What a filter lets through where it asks for nothing. @type {DataFilter} */
export const ANY = { label: -1, predicted: -1, verdict: "all", sure: "all" };
// The probability from which a prediction counts as sure, and below which as unsure.
export const SURE = 0.9;
export const UNSURE = 0.5;

/**
 * A set's table as the server packs it.
 * @param {Packed} packed
 * @returns {PredictionTable}
 */
export function tableOf({ facts, arrays }) {
  const { labels, predicted, probability } = arrays;
  return { classes: facts.classes, pictures: facts.pictures, labels, predicted, probability, count: labels.length };
}

/**
 * How many pictures of each class (a row) were taken for each (a column).
 * @param {PredictionTable} table
 */
export function confusionOf({ classes, labels, predicted, count }) {
  const found = new Int32Array(classes.length ** 2);
  for (let place = 0; place < count; place += 1)
    found[labels[place] * classes.length + predicted[place]] += 1;
  return found;
}

/**
 * Precision, recall and one-against-the-rest accuracy of each class, as scikit-learn has them: 0
 * where nothing is divided by.
 * @param {Int32Array} confusion
 * @param {number} classes
 */
export function measuresOf(confusion, classes) {
  const [pictures, predicted] = [new Int32Array(classes), new Int32Array(classes)];
  let all = 0;
  for (let row = 0; row < classes; row += 1) {
    for (let column = 0; column < classes; column += 1) {
      const found = confusion[row * classes + column];
      pictures[row] += found;
      predicted[column] += found;
      all += found;
    }
  }
  const each = (measure) => Float64Array.from({ length: classes }, (_, one) => measure(one, confusion[one * (classes + 1)]));
  return {
    pictures,
    predicted,
    precision: each((one, right) => right / Math.max(1, predicted[one])),
    recall: each((one, right) => right / Math.max(1, pictures[one])),
    accuracy: each((one, right) => (all - pictures[one] - predicted[one] + 2 * right) / Math.max(1, all)),
  };
}

/** The share of pictures that are right. @param {PredictionTable} table */
export function accuracyOf({ labels, predicted, count }) {
  let right = 0;
  for (let place = 0; place < count; place += 1) right += Number(labels[place] === predicted[place]);
  return right / count;
}

/**
 * All pictures in an order: the worst mistakes first (wrong with the highest probability, then right
 * with the lowest), the least sure first, or as the data has them.
 * @param {PredictionTable} table
 * @param {string} order
 */
export function orderedPlaces({ labels, predicted, probability, count }, order) {
  const places = Int32Array.from({ length: count }, (_, place) => place);
  if (order === "data") return places;
  const key = Float32Array.from(places, (place) => {
    const wrong = order === "mistakes" && labels[place] !== predicted[place];
    return wrong ? -probability[place] : probability[place];
  });
  return places.sort((one, other) => key[one] - key[other] || one - other);
}

/**
 * The pictures that a filter lets through, in the order given.
 * @param {PredictionTable} table
 * @param {DataFilter} filter
 * @param {Int32Array} places
 */
export function filtered({ labels, predicted, probability }, filter, places) {
  const { label, predicted: taken, verdict, sure } = filter;
  const found = new Int32Array(places.length);
  let count = 0;
  for (const place of places) {
    if (label >= 0 && labels[place] !== label) continue;
    if (taken >= 0 && predicted[place] !== taken) continue;
    if (verdict !== "all" && (labels[place] === predicted[place]) !== (verdict === "right")) continue;
    if (sure === "sure" && probability[place] < SURE) continue;
    if (sure === "unsure" && probability[place] >= UNSURE) continue;
    found[count] = place;
    count += 1;
  }
  return found.subarray(0, count);
}

/** Numbers from the largest down, or the other way; equal ones as they stand. @param {Numbers | Int32Array | Float64Array} values */
export function rankedBy(values, rising) {
  const sign = rising ? 1 : -1;
  return Array.from(values, (_, at) => at).sort((one, other) => sign * (values[one] - values[other]) || one - other);
}
