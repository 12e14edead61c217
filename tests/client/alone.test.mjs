// The figure without the page: a notebook's widget, whose kernel is a model that answers, and what a
// report holds.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { SIZE, speakEnglish } from "./drawing.mjs";
import { load } from "./page.mjs";

const { layersOf } = await load("alone/report.js");
const { render } = await load("alone/widget.js");
const { describeAttention } = await load("maps/attention_words.js");
const { overlay } = await load("maps/pixels.js");
const ENGLISH = new URL("../../vit_explorer/page/client/lang/en.json", import.meta.url);
const words = JSON.parse(await readFile(ENGLISH, "utf8"));
await speakEnglish();

const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

test("attention that is the same everywhere points at no patch", () => {
  const model = { grid: [1, 3], prefix: ["class"] };
  const even = describeAttention(Float32Array.from([0.1, 0.3, 0.3, 0.3]), 1, model);
  assert.equal(even, "Patch row 1, column 1 looks at all patches alike (30.0\u00a0% each). Besides the patches: class token 10.0\u00a0%.");
  const told = describeAttention(Float32Array.from([0.1, 0.2, 0.3, 0.4]), 0, model);
  assert.equal(told, "Class token looks most at row 1, column 3 (40.0\u00a0%). Besides the patches: class token 10.0\u00a0%.");
});

test("a report's layer is its steps times each row's largest", async () => {
  const levels = Uint16Array.from([65535, 0, 13107, 65535, 26214, 65535, 65535, 52428]);
  const scales = Float32Array.from([0.5, 1, 0.25, 2]);
  const ask = layersOf({ heads: 1, tokens: 2, levels: base64(levels), scales: base64(scales) });
  const near = (found, wanted) => wanted.forEach((value, at) => assert.ok(Math.abs(found[at] - value) < 1e-6));
  near((await ask("layers/0")).arrays.attention, [0.5, 0, 0.2, 1]);
  near((await ask("layers/1")).arrays.attention, [0.1, 0.25, 2, 1.6]);
});

// What of a browser the figure draws with: a picture, and canvases that keep what was put on them.
globalThis.ImageData = class {
  constructor(width, height) {
    Object.assign(this, { width, height, data: new Uint8ClampedArray(4 * width * height) });
  }
};
globalThis.Image = class {
  naturalWidth = SIZE.width;
  naturalHeight = SIZE.height;
  decode = async () => {};
};
const painter = () => ({
  drawImage() {},
  strokeRect() {},
  setLineDash() {},
  getImageData: (_, __, width, height) => new globalThis.ImageData(width, height),
  putImageData(image) {
    this.put = image;
  },
});
globalThis.OffscreenCanvas = class {
  getContext = painter;
};
globalThis.window = {};
const Node = globalThis.document.createElement("canvas").constructor;
Node.prototype.getContext = function context() {
  return (this.painter ??= painter());
};
Node.prototype.remove = function remove() {
  this.removed = true;
};

const frames = [];
globalThis.requestAnimationFrame = (job) => frames.push(job);
/** Let what was asked for be answered, and what changed be drawn. */
async function settle() {
  for (let turn = 0; turn < 4; turn += 1) {
    await new Promise((done) => setImmediate(done));
    for (const job of frames.splice(0)) job();
  }
}

/** A widget's model as anywidget gives it: what is shared, messages both ways, and who listens. */
class Model {
  listeners = [];
  sent = [];
  constructor(values) {
    this.values = values;
  }
  get(name) {
    return this.values[name];
  }
  set(name, value) {
    this.values[name] = value;
    this.tell(`change:${name}`);
  }
  save_changes() {}
  on(name, listener) {
    this.listeners.push([name, listener]);
  }
  off(name, listener) {
    this.listeners = this.listeners.filter(([one, own]) => one !== name || own !== listener);
  }
  send(content) {
    this.sent.push(content);
  }
  tell(name, ...given) {
    for (const [one, listener] of [...this.listeners]) if (one === name) listener(...given);
  }
  /** Answer as the kernel does: float32 somewhere in a larger memory. */
  answer({ to }, values) {
    const memory = new Uint8Array(3 + 4 * values.length);
    memory.set(new Uint8Array(Float32Array.from(values).buffer), 3);
    this.tell("msg:custom", { to }, [new DataView(memory.buffer, 3)]);
  }
}

// A class token and 1 × 2 patches; two layers of two heads.
const TOLD = {
  crop: "data:,",
  model: { grid: [1, 2], prefix: ["class"], depth: 2, heads: 2 },
  attention: { depth: 2, heads: 2, tokens: 3, apart: true, whole: true },
  maps: [
    { name: "rollout", title: "Rollout", note: "every class", grid: [1, 2], values: base64(Float32Array.of(0.25, 0.75)), limits: [0, 0.75], signed: false },
  ],
  words,
  look: { colormaps: { grey: Array.from({ length: 768 }, (_, at) => Math.floor(at / 3)), RdBu: Array(768).fill(7) }, diverging: "RdBu", floor: 0.5 },
};
const HEADS = [
  [0.5, 0.3, 0.2, /**/ 0, 0, 1, /**/ 0, 1, 0],
  [0.2, 0.1, 0.7, /**/ 1, 0, 0, /**/ 0.5, 0.25, 0.25],
];
const modelOf = () =>
  new Model({ _told: TOLD, layer: 1, head: "mean", token: 0, opacity: 0.6, colormap: "grey", smooth: true });

async function shown(model) {
  const node = globalThis.document.createElement("div");
  const end = render({ model, el: node });
  await settle();
  const says = () => node.all("figure-says")[0].textContent.replaceAll("\u00a0", " ");
  return { node, says, end: await end };
}

test("a widget asks for a layer once and says its numbers, and follows what Python sets", async () => {
  const model = modelOf();
  const { says, node } = await shown(model);
  assert.deepEqual(model.sent.map(({ ask }) => ask), ["layers/1"]);
  assert.equal(says(), words["alone.waiting"]);
  model.answer(model.sent[0], HEADS.flat());
  await settle();
  assert.equal(says(), "Class token looks most at row 1, column 2 (45.0 %). Besides the patches: class token 35.0 %.");
  model.set("head", 0);
  await settle();
  assert.match(says(), /column 1 \(30.0 %\).* 50.0 %/);
  model.set("token", 2);
  await settle();
  assert.match(says(), /^Patch row 1, column 2 looks most at row 1, column 1 \(100 %\)/);
  assert.match(node.all("figure-here")[0].textContent, /0\.75/);
  model.set("layer", 0);
  await settle();
  assert.deepEqual(model.sent.map(({ ask }) => ask), ["layers/1", "layers/0"]);
});

test("what a reader chooses reaches Python, and two views of one widget show the same", async () => {
  const model = modelOf();
  const [one, other] = [await shown(model), await shown(model)];
  // Each asks for itself, and hears its own answer alone.
  assert.equal(model.sent.length, 2);
  model.answer(model.sent[0], HEADS.flat());
  await settle();
  assert.equal(other.says(), words["alone.waiting"]);
  model.answer(model.sent[1], HEADS.flat());
  await settle();
  const canvas = one.node.all("patch-canvas")[0];
  canvas.listeners.keydown({ key: "ArrowRight", preventDefault() {} });
  await settle();
  assert.equal(model.get("token"), 2);
  assert.equal(one.says(), other.says());
  assert.match(one.says(), /^Patch row 1, column 2/);
  // The mean of the heads' rows 0 1 0 and ½ ¼ ¼, over a black picture.
  const manner = { opacity: 0.6, smooth: true, limits: [0, 0.625], floor: 0.5 };
  const table = Uint8Array.from(TOLD.look.colormaps.grey);
  const drawn = overlay(new globalThis.ImageData(SIZE.width, SIZE.height), [0.625, 0.125], [1, 2], { ...manner, table });
  assert.deepEqual(canvas.painter.put.data, drawn.data);
});

test("a layer that can't be had is said, and a closed widget leaves nothing behind", async () => {
  const [model, beside] = [modelOf(), modelOf()];
  const [{ says, node, end }, other] = [await shown(model), await shown(beside)];
  model.tell("msg:custom", { to: model.sent[0].to, said: "The layer was 9." }, []);
  await settle();
  assert.equal(says(), words["alone.failed"]);
  assert.equal(model.sent.length, 1); // and is not asked for again and again
  assert.equal(other.says(), words["alone.waiting"]);
  end();
  assert.deepEqual(model.listeners, []);
  assert.ok(node.all("vx-figure")[0].removed);
  assert.notDeepEqual(beside.listeners, []);
});
