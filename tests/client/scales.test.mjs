import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { endsOf, equalUnits, every, footing, linear, niceStep, percentsOf, rangeOf, roomFor, stepAbove, ticksIn, valueAt, writerOf } =
  await load("charts/scales.js");

test("steps are 1, 2 or 5 times a power of ten", () => {
  assert.deepEqual([0.3, 1, 4.9, 7, 1234].map(niceStep), [0.2, 1, 2, 5, 1000]);
  assert.deepEqual([0.3, 1, 4.9, 7, 1234].map(stepAbove), [0.5, 1, 5, 10, 2000]);
  for (const step of [niceStep, stepAbove]) assert.deepEqual([0, NaN, Infinity].map(step), [1, 1, 1]);
});

test("a scale leads from one end of the drawing to the other", () => {
  const y = linear([-2, 6], [100, 20]);
  assert.deepEqual([-2, 2, 6].map(y), [100, 60, 20]);
  assert.equal(linear([3, 3], [0, 10])(3), 5);
});

test("ticks are round numbers within any range", () => {
  assert.deepEqual(ticksIn([0, 1], 2), [0, 0.5, 1]);
  assert.deepEqual(ticksIn([0, 0.35], 3), [0, 0.1, 0.2, 0.3]);
  assert.deepEqual(ticksIn([-7.5, 12], 3), [-5, 0, 5, 10]);
  assert.deepEqual(ticksIn([2e-7, 8e-7], 3), [2e-7, 4e-7, 6e-7, 8e-7]);
  assert.deepEqual(ticksIn([-3e9, 1e9], 2), [-2e9, 0]);
  for (const range of [[0.001, 0.0015], [-1e-12, 1e-12], [1e6, 1.1e6], [-50, -49]]) {
    const ticks = ticksIn(range, 3);
    assert.ok(ticks.length >= 2 && ticks[0] >= range[0] && ticks.at(-1) <= range[1], String(ticks));
  }
});

test("an axis's range holds all numbers, and is one even where they are alike", () => {
  assert.deepEqual(rangeOf([]), [0, 1]);
  assert.deepEqual(rangeOf([4, 4]), [2, 6]);
  assert.deepEqual(rangeOf([-4, -4]), [-6, -2]);
  assert.deepEqual(rangeOf([0]), [-0.5, 0.5]);
  assert.deepEqual(rangeOf([-1, 3]), [-1, 3]);
  assert.deepEqual(rangeOf([-5, -3], [0]), [-5, 0]);
  assert.deepEqual(rangeOf([null, 2, NaN, 7, undefined, Infinity]), [2, 7]);
  assert.deepEqual(rangeOf([NaN], [0, 1]), [0, 1]);
  const [low, high] = rangeOf([0.1 + 0.2, 0.3]);
  assert.ok(low < 0.2 && high > 0.4);
  assert.deepEqual(endsOf([3, null, -1]), [-1, 3]);
  assert.deepEqual(endsOf([NaN]), [0, 0]);
});

test("ticks are written with the digits that tell them apart", () => {
  const written = (range, count = 2) => {
    const ticks = ticksIn(range, count);
    return ticks.map(writerOf(ticks));
  };
  assert.deepEqual(written([0, 1]), ["0", "0.5", "1"]);
  assert.deepEqual(written([-7.5, 12], 3), ["−5", "0", "5", "10"]);
  assert.deepEqual(written([49.95, 50.06]), ["49.95", "50", "50.05"]);
  assert.deepEqual(written([1e6, 1e6 + 4e4]), ["1e6", "1.02e6", "1.04e6"]);
  assert.deepEqual(written([-3e9, 1e9]), ["−2e9", "0"]);
  assert.deepEqual(written([2e-7, 8e-7]), ["2e−7", "4e−7", "6e−7", "8e−7"]);
  assert.deepEqual([0, 0.07, 0.14].map(percentsOf([0, 0.07, 0.14])), ["0\u00a0%", "7\u00a0%", "14\u00a0%"]);
  assert.equal(roomFor(["1", "1.0001e6"], 34), 64);
  assert.equal(roomFor(["1"], 34), 34);
});

test("two ranges with one unit fill the box where they are longest", () => {
  assert.deepEqual(equalUnits([0, 10], [4, 4], [120, 80], 10), [[-1, 11], [0, 8]]);
  assert.deepEqual(equalUnits([5, 5], [5, 5], [40, 20], 0), [[-15, 25], [-5, 15]]);
});

test("numbers under a drawing have room, whatever their count", () => {
  assert.deepEqual(footing(12, 300).length, 12);
  for (const [count, wide] of [[13, 100], [101, 290], [3001, 290], [24, 60], [1, 10]]) {
    const places = footing(count, wide);
    const step = ((places[1] ?? count) - places[0]) / Math.max(1, count - 1) * wide;
    assert.ok(places[0] === 0 && places.at(-1) < count, String(places));
    assert.ok(count === 1 || step >= 7 * String(count).length, `${count} in ${wide}: ${places}`);
  }
});

test("between two points a line is straight, past those that are absent", () => {
  const points = [[0, 1], [2, null], [4, 3]];
  assert.deepEqual([0, 1, 2, 4].map((at) => valueAt(points, at)), [1, 1.5, 2, 3]);
  assert.deepEqual([-1, 5, null, undefined].map((at) => valueAt(points, at)), [null, null, null, null]);
});

test("places are so many apart", () => {
  assert.deepEqual(every(12, 1).length, 12);
  assert.deepEqual(every(11, 5), [0, 5, 10]);
});
