import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { comparable, sharedLimits, timesEven } = await load("views/compare/compare_scale.js");

/** A map of so many patches whose largest share is `times` an even one. */
const mapOf = (count, times, unit = "share") => ({
  unit,
  values: Float32Array.from({ length: count }, () => 1 / count),
  limits: [0, times / count],
  signed: false,
});

test("shares of grids of two sizes stand on one scale as multiples of an even share", () => {
  const [few, many] = [mapOf(64, 4), mapOf(196, 10)];
  const [first, second] = sharedLimits(few, many, true);
  assert.deepEqual(first, [0, 10 / 64]);
  assert.deepEqual(second, [0, 10 / 196]);
  // The same colour is the same multiple on both sides, though not the same share.
  assert.equal(timesEven(few, first[1]), 10);
  assert.equal(timesEven(many, second[1]), 10);
  assert.equal(timesEven(few, 1 / 64), 1);
});

test("what is no share keeps its own numbers, and other units are not set on one scale", () => {
  const [one, two] = [mapOf(64, 1, "cosine"), mapOf(196, 1, "cosine")];
  [one.limits, two.limits] = [[-0.5, 0.25], [0, 1]];
  assert.deepEqual(sharedLimits(one, two, true), [[-0.5, 1], [-0.5, 1]]);
  assert.equal(timesEven(one, 0.5), null);
  assert.ok(!comparable(mapOf(4, 1, "logit a"), mapOf(4, 1, "logit b")));
  assert.equal(sharedLimits(mapOf(4, 1, "logit a"), mapOf(4, 1, "logit b"), true), null);
  assert.equal(sharedLimits(one, two, false), null);
  assert.equal(sharedLimits(one, null, true), null);
});
