// Every chart, with numbers of any range: nothing drawn outside, and an axis that can be read.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { load } from "./page.mjs";
import { numbersOf, pointsOf, SIZE, speakEnglish } from "./drawing.mjs";

const { createLineChart } = await load("charts/line_chart.js");
const { createCurves } = await load("charts/curves.js");
const { byLayer, createHeadPlot } = await load("charts/distance.js");
const { createHistogram, createTaken } = await load("charts/norm_charts.js");
const { drawProfile } = await load("charts/profile.js");
const { createTrail } = await load("charts/trail.js");
const { drawBundle } = await load("charts/bundle.js");
const { createShareBar, setShare, barOf } = await load("charts/share_bar.js");
const { svg } = await load("base/svg.js");

before(speakEnglish);

const LARGEST = 3.4e38; // of a float32
const RANGES = {
  usual: [0.1, 0.5, 0.9],
  negative: [-3, -7.5, -5],
  "on both sides": [-2, 4, 0],
  "all the same": [4, 4, 4],
  "all zero": [0, 0, 0],
  "negative and the same": [-0.02, -0.02],
  huge: [1e30, 3e30, -2e30],
  "as large as there are": [-LARGEST, LARGEST],
  tiny: [1e-30, 4e-30],
  "far from zero, near each other": [1e6, 1e6 + 2, 1e6 + 1],
  "apart by rounding alone": [0.1 + 0.2, 0.3],
  "some absent": [1, null, NaN, 3, undefined],
  "no number at all": [NaN, null],
  "not finite": [Infinity, 2, -Infinity, 1],
  one: [0.25],
  none: [],
};

/** A drawing holds numbers alone, and all of its dots, lines and bars lie inside. */
function assertInside(node, name) {
  const [, , wide, tall] = node.attributes.viewBox.split(" ").map(Number);
  for (const [attribute, number] of numbersOf(node)) {
    assert.ok(Number.isFinite(number), `${name}: ${attribute}`);
    const most = attribute.startsWith("y") || attribute === "cy" ? tall : wide;
    if (!["viewBox", "transform", "points"].includes(attribute))
      assert.ok(number >= -1e-6 && number <= Math.max(most, tall) + 1e-6, `${name}: ${attribute} ${number}`);
  }
  for (const line of [...node.all("line"), ...node.all("own-curve")])
    for (const [x, y] of pointsOf(line))
      assert.ok(x >= 0 && x <= wide && y >= -1e-6 && y <= tall + 1e-6, `${name}: ${x}, ${y}`);
}

/** The numbers of the axis up differ, stand in their order, and have room before the drawing. */
function assertAxis(node, name) {
  const ticks = node.all("tick-y").filter(({ attributes: { class: own } }) => own === "tick-y");
  const texts = ticks.map(({ textContent }) => textContent);
  assert.ok(texts.length >= 2, `${name}: ${texts}`);
  assert.equal(new Set(texts).size, texts.length, `${name}: ${texts}`);
  const heights = ticks.map(({ attributes: { y } }) => y);
  assert.deepEqual(heights, heights.toSorted((one, other) => other - one), name);
  for (const { attributes, textContent } of ticks)
    assert.ok(attributes.x >= 6 * textContent.length, `${name}: no room for ${textContent}`);
}

const pointsFrom = (values) => values.map((value, at) => [at, value]);

for (const [name, values] of Object.entries(RANGES)) {
  test(`a line chart of values: ${name}`, () => {
    const chart = createLineChart({ onPick: () => {} });
    const lines = [{ kind: "test", points: pointsFrom(values) }];
    chart.draw({ lines, last: values.length, at: 1, title: "x", valued: true, text: "says" });
    assertInside(chart.node, name);
    assertAxis(chart.node, name);
    const known = values.filter(Number.isFinite);
    assert.equal(pointsOf(chart.node.all("line")[0]).length, known.length);
  });

  test(`curves of a training: ${name}`, () => {
    const { node, draw } = createCurves();
    const curves = { train_loss: values, test_loss: values, train_accuracy: [0.5], test_accuracy: [null] };
    draw({ curves, last: values.length, at: null, measured: "test" });
    const [loss] = node.all("curve").map((chart) => chart.children.at(-1));
    assertInside(loss, name);
    assertAxis(loss, name);
  });

  test(`a dot a head: ${name}`, () => {
    const plot = createHeadPlot({ height: SIZE.height });
    const array = Float64Array.from([...values, ...values], (value) => value ?? NaN);
    const layers = values.length ? byLayer(array, values.length) : [];
    plot.paint({ width: SIZE.width, layers, depth: 2, reach: 1 });
    assertInside(plot.node, name);
    assertAxis(plot.node, name);
    assert.equal(plot.node.all("dot").length, 2 * values.filter(Number.isFinite).length);
  });

  test(`a profile: ${name}`, () => {
    const plot = svg("svg", { role: "img" });
    const line = { values: Float64Array.from(values, (value) => value ?? NaN), name: "row", kind: "row", here: 0 };
    drawProfile(plot, [line], [0, 1], { comparison: { at: 1, name: "even" } });
    assertInside(plot, name);
    assertAxis(plot, name);
  });

  test(`a curve among others: ${name}`, () => {
    const others = [values, values.toReversed()];
    for (const valued of [true, false]) {
      const plot = drawBundle({ own: values, others, valued, axis: "share", text: "says" });
      assertInside(plot, name);
      assertAxis(plot, name);
      assert.equal(plot.all("random-curve").length, 2);
    }
  });

  test(`a trail: ${name}`, () => {
    const trail = createTrail(() => {});
    const points = values.map((value, at) => [value, values.at(-1 - at)]);
    const titles = points.map(String);
    trail.draw({ points, chosen: 0, names: ["one", "two"], titles, text: "says" });
    assertInside(trail.node, name);
  });
}

test("a trail has one unit both ways", () => {
  const trail = createTrail(() => {});
  const points = [[0, 0], [30, 0], [30, 10]];
  trail.draw({ points, chosen: 0, names: ["one", "two"], titles: ["1", "2", "3"], text: "says" });
  const [[x0, y0], [x1, y1], [x2, y2]] = pointsOf(trail.node.all("line")[0]);
  assert.ok(Math.abs((x1 - x0) / 30 - (y1 - y2) / 10) < 1e-9);
  assert.ok(y0 === y1 && x1 === x2 && x1 - x0 > SIZE.width / 2);
});

test("norms: a bar a bin, the dashed line where the threshold is", () => {
  const chart = createHistogram();
  const layer = { counts: [4, 0, 2], edges: [0, 10, 20, 30], threshold: 20, median: 5, outliers: [1, 2] };
  chart.draw(layer, 25);
  assertInside(chart.node, "histogram");
  assert.deepEqual(chart.node.all("bin").map(({ attributes: { class: own } }) => own), ["bin", "bin", "bin bin-high"]);
  const [tall, none, half] = chart.node.all("bin").map(({ attributes: { height } }) => height);
  assert.ok(none === "0" && Math.abs(tall - 2 * half) < 1e-9);
  const [{ attributes: line }] = chart.node.all("threshold");
  assert.ok(Math.abs(line.x1 - (8 + (2 / 3) * (SIZE.width - 16))) < 1e-9);
  chart.draw({ ...layer, threshold: 99 }, NaN);
  assert.equal(chart.node.all("threshold").length + chart.node.all("head").length, 0);
});

test("attention that outliers take: two bars a layer, where a class token has any", () => {
  const chosen = [];
  const chart = createTaken({ set: (change) => chosen.push(change) });
  const layers = [
    { class_share: 0.4, mean_share: 0.2, outliers: [3] },
    { class_share: null, mean_share: 0.1, outliers: [] },
  ];
  chart.draw({ layer: 1 }, layers);
  assertInside(chart.node, "taken");
  const [own, mean, other] = chart.node.all("bin").map(({ attributes: { height } }) => height);
  assert.ok(Math.abs(own - 2 * mean) < 1e-9 && Math.abs(mean - 2 * other) < 1e-9);
  assert.deepEqual(chart.node.all("count").map(({ textContent }) => textContent), ["1"]);
  chart.node.all("catcher")[1].listeners.click();
  assert.deepEqual(chosen, [{ layer: 1 }]);
});

test("a bar is as long as its share, never longer than its track", () => {
  const lengthOf = (share) => createShareBar(share).style["--share"];
  assert.deepEqual([0.25, 0, 1, 1.2, -3, NaN, null, Infinity].map(lengthOf), ["0.25", "0", "1", "1", "0", "0", "0", "0"]);
  const node = createShareBar();
  setShare(node, 0.5, "--before");
  assert.equal(node.style["--before"], "0.5");
  assert.equal(barOf({ probability: null }), null);
});

test("pointing chooses the number nearest to the pointer", () => {
  const picked = [];
  const chart = createLineChart({ onPick: (at) => picked.push(at) });
  chart.draw({ lines: [], last: 10, at: 0, title: "x", valued: false, text: "says" });
  const [left, right] = [40, SIZE.width - 10];
  const down = (clientX) =>
    chart.node.listeners.pointerdown({ clientX, button: 0, pointerId: 1, preventDefault: () => {} });
  chart.node.setPointerCapture = () => {};
  for (const at of [0, left, left + (right - left) * 0.32, right, right + 50]) down(at);
  assert.deepEqual(picked, [0, 0, 3, 10, 10]);
});
