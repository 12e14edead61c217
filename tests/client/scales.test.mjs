import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { every, linear, niceStep, rangeOf, ticksIn } = await load("charts/scales.js");

test("steps are 1, 2 or 5 times a power of ten", () => {
  assert.deepEqual([0.3, 1, 4.9, 7, 1234].map(niceStep), [0.2, 1, 2, 5, 1000]);
  assert.deepEqual([0, NaN, Infinity].map(niceStep), [1, 1, 1]);
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

test("lines of one height have room above and below", () => {
  assert.deepEqual(rangeOf([]), [0, 1]);
  assert.deepEqual(rangeOf([{ points: [[0, 4], [1, 4]] }]), [2, 6]);
  assert.deepEqual(rangeOf([{ points: [[0, 0]] }]), [-0.5, 0.5]);
  assert.deepEqual(rangeOf([{ points: [[0, -1], [1, 3]] }]), [-1, 3]);
});

test("places are so many apart", () => {
  assert.deepEqual(every(12, 1).length, 12);
  assert.deepEqual(every(11, 5), [0, 5, 10]);
});
