import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { extremeHeads, nearestDot } = await load("charts/picking.js");

test("of dots that overlap, the nearest is meant, not the one on top", () => {
  const dots = [
    { x: 10, y: 10, head: 0 },
    { x: 10, y: 12, head: 1 },
    { x: 10, y: 40, head: 2 },
  ];
  assert.equal(nearestDot(dots, [11, 10.9]).head, 0);
  assert.equal(nearestDot(dots, [11, 11.1]).head, 1);
  assert.equal(nearestDot(dots, [10, 27]).head, 2);
  assert.equal(nearestDot(dots, [100, 10]), null);
  assert.equal(nearestDot([], [0, 0]), null);
});

test("the heads that stand out are those with the least and the most", () => {
  const layers = [[0, [0.5, NaN, 0.9]], [3, Float32Array.of(0.25, 0.5, 0.75)]];
  const { least, most } = extremeHeads(layers);
  assert.deepEqual([least.layer, least.head], [3, 0]);
  assert.deepEqual([most.layer, most.head, most.value], [0, 2, 0.9]);
  assert.equal(extremeHeads([[0, [NaN]]]), null);
  assert.equal(extremeHeads([]), null);
});
