import assert from "node:assert/strict";
import { test } from "node:test";
import { load, modelOf } from "./page.mjs";

const frames = [];
globalThis.requestAnimationFrame = (frame) => frames.push(frame);
const nextFrame = () => frames.splice(0).forEach((frame) => frame());

const { createStore } = await load("state/store.js");
const { change, keepEdit, readEdit, redo, undo, writeEdit } = await load("state/edits.js");
const { counterpart, createTwin, layerOf } = await load("state/mirrored_store.js");
const { fusionOf } = await load("state/fusion.js");

const PLAIN = { patches: [], heads: [], how: "drop" };
const edited = (values = {}) =>
  createStore({ edit: PLAIN, editOf: ["", ""], editPast: [], editFuture: [], ...values });

test("changes are gathered and told once a frame", () => {
  const store = createStore({ layer: 0, head: "mean" });
  const told = [];
  store.on(["layer"], ({ layer }) => told.push(layer));
  store.set({ layer: 1 });
  store.set({ layer: 2, head: "max" });
  assert.deepEqual(told, []);
  nextFrame();
  assert.deepEqual(told, [2]);
  store.set({ layer: 2 });
  nextFrame();
  assert.deepEqual(told, [2]);
});

test("an edit goes into a link and comes back", () => {
  const model = modelOf(4, 4);
  const edit = { patches: [1, 2, 3, 7], heads: [0, 11], how: "grey" };
  assert.equal(writeEdit(edit), "p1-3.7_h0.11_grey");
  assert.deepEqual(readEdit("p1-3.7_h0.11_grey", model), edit);
  assert.equal(writeEdit(PLAIN), null);
  assert.equal(readEdit("what", model), null);
  // What the model does not have is left out.
  assert.deepEqual(readEdit("p15-20", model).patches, [15]);
});

test("an edit is undone and redone", () => {
  const store = edited();
  assert.ok(change(store, { patches: [3, 1, 3] }));
  assert.deepEqual(store.get().edit.patches, [1, 3]);
  assert.ok(!change(store, { patches: [1, 3] }));
  change(store, { patches: [1, 3, 5] }, { joined: true });
  undo(store);
  assert.deepEqual(store.get().edit, PLAIN);
  redo(store);
  assert.deepEqual(store.get().edit.patches, [1, 3, 5]);
});

test("another picture brings patches back and leaves heads off", () => {
  const model = { ...modelOf(2, 2), key: "vit" };
  const store = edited({ result: null });
  keepEdit(store);
  const show = (pass, shown) => {
    store.set({ result: { model: shown, pass } });
    nextFrame();
    nextFrame();
  };
  show("cat", model);
  change(store, { patches: [2], heads: [5] });
  show("dog", model);
  assert.deepEqual(store.get().edit, { patches: [], heads: [5], how: "drop" });
  show("dog", { ...model, key: "deit" });
  assert.deepEqual(store.get().edit.heads, []);
});

test("a token meets its counterpart in another grid", () => {
  const place = { picture: "cat.png" };
  const of = (model) => ({ model, place, box_known: true, box: [0, 0, 100, 100] });
  const [small, large] = [of(modelOf(2, 2)), of(modelOf(4, 4, ["class"]))];
  // The middle of the small grid's upper right patch is at 3/4 and 1/4 of the picture.
  assert.equal(counterpart(2 + 1, small, large), 1 + 1 * 4 + 3);
  assert.equal(counterpart(0, small, large), 0);
  assert.equal(layerOf(11, 12, 24), 23);
  assert.equal(layerOf(0, 12, 24), 0);
});

test("what the second side sets reaches the first", () => {
  const place = { picture: "cat.png" };
  const of = (model) => ({ model, place, box_known: true, box: [0, 0, 100, 100] });
  const store = createStore({
    result: of(modelOf(2, 2)),
    other: { result: of(modelOf(4, 4)) },
    hover: null,
    pinned: 0,
    layer: 2,
    head: 3,
    twin: {},
  });
  const twin = createTwin(store);
  twin.set({ hover: 2 + 5 });
  assert.equal(store.get().hover, 2 + 0);
  // The token that was meant there, not the first one of its counterpart's four.
  assert.equal(twin.get().hover, 2 + 5);
});

test("what follows the second side is given what the second side shows", () => {
  const of = (model) => ({ model, place: { picture: "cat.png" }, box_known: false, box: [0, 0, 1, 1] });
  const [first, second] = [of({ ...modelOf(2, 2), depth: 2 }), of({ ...modelOf(2, 2), depth: 3 })];
  const store = createStore({
    result: first,
    other: { result: second },
    hover: null,
    pinned: 2,
    layer: 0,
    head: "mean",
    twin: {},
  });
  const twin = createTwin(store);
  const seen = [];
  const note = ({ result, layer }) => seen.push([result, layer]);
  twin.effect(note);
  nextFrame();
  assert.deepEqual(seen.splice(0), [[second, 0]]);
  twin.on(["layer"], note);
  store.set({ layer: 1 });
  nextFrame();
  assert.deepEqual(seen, [[second, 2], [second, 2]]);
});

test("a rollout goes through all heads", () => {
  const result = { attention: { whole: true } };
  assert.equal(fusionOf({ rolled: false, head: 3, result }), 3);
  assert.equal(fusionOf({ rolled: true, head: 3, result }), "mean");
  assert.equal(fusionOf({ rolled: true, head: "max", result }), "max");
});
