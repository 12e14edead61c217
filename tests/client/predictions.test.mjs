// Predictions of many pictures: counts against scikit-learn's, filters, orders, and how long they take.

import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./page.mjs";

const { ANY, accuracyOf, confusionOf, filtered, measuresOf, orderedPlaces, rankedBy, tableOf } =
  await load("state/predictions.js");

const LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3];
const PREDICTED = [0, 0, 1, 2, 1, 1, 0, 2, 1, 1];
const PROBABILITY = [0.95, 0.4, 0.9, 0.7, 0.5, 0.99, 0.3, 0.8, 0.9, 0.45];

const made = (labels, predicted, probability, classes) =>
  tableOf({
    facts: { classes, pictures: labels.map((_, at) => `${at}.png`) },
    arrays: {
      labels: Int32Array.from(labels),
      predicted: Int32Array.from(predicted),
      probability: Float32Array.from(probability),
    },
    shapes: {},
  });
const table = made(LABELS, PREDICTED, PROBABILITY, ["cat", "dog", "frog", "owl"]);
const all = orderedPlaces(table, "data");

test("counts and measures are scikit-learn's", () => {
  // confusion_matrix, precision_score and recall_score (average=None, zero_division=0), and
  // accuracy_score of each class against the rest.
  const found = confusionOf(table);
  assert.deepEqual([...found], [2, 1, 1, 0, 1, 2, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0]);
  const { precision, recall, accuracy, pictures, predicted } = measuresOf(found, 4);
  const near = (got, wanted) => wanted.forEach((one, at) => assert.ok(Math.abs(got[at] - one) < 1e-12));
  near(precision, [2 / 3, 2 / 5, 1 / 2, 0]);
  near(recall, [1 / 2, 2 / 3, 1 / 2, 0]);
  near(accuracy, [0.7, 0.6, 0.8, 0.9]);
  assert.deepEqual([[...pictures], [...predicted]], [[4, 3, 2, 1], [3, 5, 2, 0]]);
  assert.equal(accuracyOf(table), 0.5);
});

test("the worst mistakes come first, the least sure of the right ones after them", () => {
  assert.deepEqual([...orderedPlaces(table, "mistakes")], [2, 8, 3, 9, 6, 1, 4, 7, 0, 5]);
  assert.deepEqual([...orderedPlaces(table, "unsure")].slice(0, 4), [6, 1, 9, 4]);
});

test("each filter leaves what it says, in the order given", () => {
  const left = (filter, places = all) => [...filtered(table, { ...ANY, ...filter }, places)];
  assert.deepEqual(left({}), [...all]);
  assert.deepEqual(left({ label: 0 }), [0, 1, 2, 3]);
  assert.deepEqual(left({ predicted: 1, verdict: "wrong" }), [2, 8, 9]);
  assert.deepEqual(left({ verdict: "right" }), [0, 1, 4, 5, 7]);
  assert.deepEqual(left({ sure: "sure" }), [0, 2, 5, 8].filter((at) => table.probability[at] >= 0.9));
  assert.deepEqual(left({ sure: "unsure" }), [1, 6, 9]);
  assert.deepEqual(left({ predicted: 1 }, orderedPlaces(table, "mistakes")), [2, 8, 9, 4, 5]);
  assert.deepEqual(left({ label: 3, predicted: 3 }), []);
});

test("classes are ranked by a measure, equal ones as they stand", () => {
  assert.deepEqual(rankedBy([0.5, 0.2, 0.5, 0.9], false), [3, 0, 2, 1]);
  assert.deepEqual(rankedBy([0.5, 0.2, 0.5, 0.9], true), [1, 0, 2, 3]);
});

test("ten thousand pictures of a thousand classes are filtered within 100 ms", () => {
  const many = (make) => Array.from({ length: 10_000 }, (_, at) => make(at));
  const big = made(
    many((at) => at % 1000),
    many((at) => (at * 7) % 1000),
    many((at) => ((at * 37) % 101) / 101),
    Array.from({ length: 1000 }, (_, at) => String(at)),
  );
  const places = orderedPlaces(big, "mistakes");
  const start = performance.now();
  for (let turn = 0; turn < 10; turn += 1) {
    const found = filtered(big, { ...ANY, verdict: "wrong", sure: turn % 2 ? "sure" : "unsure" }, places);
    assert.ok(found.length > 100 && found.length < 10_000);
  }
  assert.ok((performance.now() - start) / 10 < 100);
});
