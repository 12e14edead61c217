import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { clock, fixed, megabytes, milliseconds, percent, short } = await load("base/format.js");

test("shares read as percentages with as many digits as say something", () => {
  assert.equal(percent(1), "100\u00a0%");
  assert.equal(percent(0.9996), "100\u00a0%");
  assert.equal(percent(0.1234), "12.3\u00a0%");
  assert.equal(percent(0.0004), "0.04\u00a0%");
  assert.equal(percent(0), "0.0\u00a0%");
});

test("a minus sign is a true one, and zero has none", () => {
  assert.equal(fixed(-1.25, 1), "\u22121.3");
  assert.equal(fixed(-0.001, 2), "0.00");
  assert.equal(short(-0.5), "\u22120.5");
});

test("three digits are kept, and powers of ten only where a number is long", () => {
  assert.equal(short(0), "0");
  assert.equal(short(3.14159), "3.14");
  assert.equal(short(0.01234), "0.012");
  assert.equal(short(123456), "1.2e5");
  assert.equal(short(0.00012), "1.2e\u22124");
});

test("times and sizes have their units", () => {
  assert.equal(milliseconds(0.0123), "12 ms");
  assert.equal(milliseconds(2.34), "2.3 s");
  assert.deepEqual([0, 59.6, 125, 3725.2, 90061].map(clock), ["0:00", "1:00", "2:05", "1:02:05", "25:01:01"]);
  assert.equal(megabytes(600e6), "600\u00a0MB");
});
