import assert from "node:assert/strict";
import { test } from "node:test";
import { load, modelOf, serve } from "./page.mjs";

const { correlation, ranks } = await load("maps/rank_correlation.js");
const { enlarge, level, maximum, range } = await load("maps/pixels.js");
const { cellOf, extremePatch, startToken, step, tokenAt, valueAt } = await load("maps/geometry.js");
const { describeMap } = await load("maps/alt_text.js");
const { commonPeak } = await load("views/explain/lead.js");
const { isDark } = await load("maps/colours.js");
const { speak } = await load("base/words.js");

test("equal values share the mean of their ranks", () => {
  assert.deepEqual([...ranks([10, 20, 20, 5])], [2, 3.5, 3.5, 1]);
});

test("rank correlations are Spearman's", () => {
  // 1 − 6·Σd²/(n(n²−1)) with d = 1, 1, 0, 0, 0 and n = 5.
  assert.ok(Math.abs(correlation(ranks([1, 2, 3, 4, 5]), ranks([20, 10, 30, 40, 50])) - 0.9) < 1e-12);
  assert.equal(correlation(ranks([1, 2, 3]), ranks([3, 2, 1])), -1);
  assert.equal(correlation(ranks([1, 1, 1]), ranks([3, 2, 1])), null);
  assert.equal(correlation(ranks([1, 2]), ranks([3, 2, 1])), null);
});

test("blocks repeat each cell over its own pixels", () => {
  const large = enlarge([1, 2, 3, 4, 5, 6], [2, 3], 6, 4, false);
  assert.deepEqual([...large.slice(0, 6)], [1, 1, 2, 2, 3, 3]);
  assert.deepEqual([...large.slice(18)], [4, 4, 5, 5, 6, 6]);
});

test("smooth maps keep a constant, stay in range, and mirror with their values", () => {
  assert.ok(enlarge([3, 3, 3, 3], [2, 2], 7, 5, true).every((value) => Math.abs(value - 3) < 1e-6));
  const values = [0, 9, 1, 4, 2, 7];
  const large = enlarge(values, [2, 3], 30, 20, true);
  assert.ok(Math.min(...large) >= 0 && Math.max(...large) <= 9);
  const mirrored = enlarge([1, 9, 0, 7, 2, 4], [2, 3], 30, 20, true);
  for (let x = 0; x < 30; x += 1) assert.ok(Math.abs(large[x] - mirrored[29 - x]) < 1e-5);
});

test("a bicubic edge has the weights of Pillow's kernel", () => {
  // Two cells to four pixels, centres at 0.25, 0.75, 1.25 and 1.75 cells: what lies outside is left
  // out and the weights are divided by their sum, w(d) = 1.5d³ − 2.5d² + 1 or −0.5d³ + 2.5d² − 4d + 2.
  const near = (d) => 1.5 * d ** 3 - 2.5 * d ** 2 + 1;
  const far = (d) => -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2;
  const share = (own, other) => other / (own + other);
  const expected = [share(near(0.25), far(1.25)), share(near(0.25), near(0.75))];
  const large = enlarge([0, 1], [1, 2], 4, 1, true);
  assert.equal(large[0], Math.max(0, expected[0]));
  assert.ok(Math.abs(large[1] - expected[1]) < 1e-6);
});

test("levels run from the first colour to the last", () => {
  assert.deepEqual([-1, 0, 0.5, 1, 2].map((value) => level(value, [0, 1])), [0, 0, 128, 255, 255]);
  assert.deepEqual(range([3, -1, 2]), [-1, 3]);
  assert.equal(maximum(new Float32Array([1, 4, 2])), 4);
});

test("tokens and cells are each other's inverse in any grid", () => {
  const model = modelOf(3, 5);
  for (let row = 0; row < 3; row += 1) {
    for (let column = 0; column < 5; column += 1)
      assert.deepEqual(cellOf(model, tokenAt(model, row, column)), [row, column]);
  }
  assert.equal(cellOf(model, 1), null);
  assert.equal(startToken(model), 0);
  assert.deepEqual(cellOf(modelOf(3, 5, []), startToken(modelOf(3, 5, []))), [1, 2]);
});

test("steps end at the grid's edge, and lead from a prefix token to the middle", () => {
  const model = modelOf(3, 5);
  assert.equal(step(model, tokenAt(model, 0, 4), -1, 1), tokenAt(model, 0, 4));
  assert.equal(step(model, tokenAt(model, 1, 1), 1, -1), tokenAt(model, 2, 0));
  assert.equal(step(model, 0, 0, 1), tokenAt(model, 1, 2));
});

test("a patch finds its value in a map of another grid", () => {
  const model = modelOf(4, 4);
  const map = { grid: [2, 2], values: [1, 2, 3, 4] };
  assert.equal(valueAt(map, model, tokenAt(model, 0, 3)), 2);
  assert.equal(valueAt(map, model, tokenAt(model, 3, 1)), 3);
  assert.equal(valueAt(map, model, 0), null);
  assert.equal(extremePatch([9, 9, 1, 5, 3], 2), 3);
  assert.equal(extremePatch([0, 0, 1, 5, 3], 2, -1), 2);
});

test("words say where a map's mass lies", async () => {
  serve();
  globalThis.document.documentElement.lang = "";
  await speak("en", {});
  const corner = Array(16).fill(0);
  corner[0] = 1;
  const said = describeMap("Rollout", corner, [4, 4]);
  assert.match(said, /upper left/);
  assert.match(said, /row 1/);
  assert.match(describeMap("Rollout", Array(16).fill(2), [4, 4]), /same/);
});

test("white stands out from dark colours", () => {
  assert.ok(isDark([0, 0, 80]));
  assert.ok(!isDark([255, 255, 0]));
});

test("the commonest classes have a colour each, and all others one", async () => {
  const { classColour, classScale, frequentClasses } = await load("maps/class_colours.js");
  const classes = [5, 2, 2, 9, 9, 9, 7];
  const known = frequentClasses(classes);
  assert.deepEqual(known, [9, 2, 5, 7]);
  assert.equal(frequentClasses(Array.from({ length: 20 }, (_, at) => at)).length, 7);
  const { table, limits, values } = classScale([9, 2]);
  const hex = (value) => {
    const at = level(value, limits) * 3;
    return `#${[...table.slice(at, at + 3)].map((one) => one.toString(16).padStart(2, "0")).join("")}`;
  };
  const drawn = [...values([9, 2, 5])].map(hex);
  assert.deepEqual(drawn, [9, 2, 5].map((index) => classColour([9, 2], index)));
  assert.equal(new Set(drawn).size, 3);
});

test("maps share a peak where two of three or more have it, whatever their grids", () => {
  const model = modelOf(2, 2);
  const peak = (...values) => ({ values, grid: [2, 2] });
  const [first, last, none] = [peak(9, 1, 1, 1), peak(0, 1, 2, 3), peak(0, -1, 0, 0)];
  const fine = { values: [...Array(15).fill(0), 1], grid: [4, 4] };
  assert.deepEqual(commonPeak([first, last, fine, none], model), { some: 2, all: 3, row: 2, column: 2 });
  assert.equal(commonPeak([first, last, peak(0, 3, 0, 0)], model), null);
  assert.equal(commonPeak([first, first, none], model), null);
});
