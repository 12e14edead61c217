import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const frames = [];
globalThis.requestAnimationFrame = (frame) => frames.push(frame);
const nextFrame = () => frames.splice(0).forEach((frame) => frame());

const { runEffects, Source } = await load("base/effects.js");
const { Resources } = await load("server/resources.js");
const { createStore, withChanges } = await load("state/store.js");

const began = (values) => {
  const store = createStore(values);
  const runs = [];
  return { store, runs, draw: (work) => store.effect((state) => runs.push(work(state))) };
};

test("an effect runs once a frame, for what it read alone", () => {
  const { store, runs, draw } = began({ layer: 0, head: 0, hover: null });
  draw(({ layer, head }) => layer * 10 + head);
  assert.deepEqual(runs, []);
  nextFrame();
  store.set({ layer: 1 });
  store.set({ head: 2 });
  nextFrame();
  store.set({ hover: 5 });
  nextFrame();
  assert.deepEqual(runs, [0, 12]);
});

test("what is read changes with what is drawn", () => {
  const { store, runs, draw } = began({ tab: "learn", layer: 0 });
  draw(({ tab, ...rest }) => (tab === "layers" ? rest.layer : tab));
  const lazily = began({ tab: "learn", layer: 0 });
  lazily.draw((state) => (state.tab === "layers" ? state.layer : state.tab));
  nextFrame();
  lazily.store.set({ layer: 3 });
  nextFrame();
  assert.deepEqual(lazily.runs, ["learn"]);
  lazily.store.set({ tab: "layers" });
  nextFrame();
  lazily.store.set({ layer: 4 });
  nextFrame();
  assert.deepEqual(lazily.runs, ["learn", 3, 4]);
  // To spread a state is to read all of it.
  store.set({ layer: 3 });
  nextFrame();
  assert.deepEqual(runs, ["learn", "learn"]);
});

test("a state with changes reads through to the store", () => {
  const { store, runs, draw } = began({ layer: 1, head: 0, hover: null });
  draw((state) => {
    const other = withChanges(state, { layer: 7 });
    return [other.layer, other.head];
  });
  nextFrame();
  store.set({ layer: 2 });
  nextFrame();
  store.set({ head: 1 });
  nextFrame();
  assert.deepEqual(runs, [[7, 0], [7, 1]]);
});

test("listeners come before effects, and what they set in the next frame", () => {
  const store = createStore({ result: 1, edit: 1 });
  const order = [];
  store.effect(({ result }) => order.push(`draw ${result}`));
  store.on(["result"], ({ result }) => order.push(`hear ${result}`));
  nextFrame();
  store.set({ result: 2 });
  nextFrame();
  assert.deepEqual(order, ["draw 1", "hear 2", "draw 2"]);
});

test("a page that is built anew leaves no effects behind", () => {
  const { store, runs, draw } = began({ layer: 0 });
  const forget = store.mark();
  draw(({ layer }) => layer);
  runEffects();
  forget();
  store.set({ layer: 1 });
  nextFrame();
  assert.deepEqual(runs, [0]);
});

test("a source that changes while it is read runs its reader again", () => {
  const source = new Source();
  const { runs, draw } = began({});
  draw(() => {
    source.track();
    if (runs.length < 2) source.changed();
    return runs.length;
  });
  for (let frame = 0; frame < 5; frame += 1) nextFrame();
  assert.deepEqual(runs, [0, 1, 2]);
});

test("a resource is asked for once, and its readers hear that it is here", async () => {
  const held = new Resources();
  const asked = [];
  let answer = null;
  const slow = () => {
    asked.push("asked");
    return new Promise((here) => (answer = here));
  };
  const { runs, draw } = began({});
  draw(() => held.read("walk", slow).status);
  nextFrame();
  assert.equal(held.read("walk", slow).status, "loading");
  answer(5);
  await Promise.resolve();
  await Promise.resolve();
  nextFrame();
  assert.deepEqual(runs, ["loading", "ready"]);
  assert.deepEqual(asked, ["asked"]);
  assert.equal(held.peek("walk").value, 5);
  assert.equal(held.count("ready"), 1);
});

test("a failure stays to be seen, and may be tried again", async () => {
  const held = new Resources();
  const answers = [() => Promise.reject(new Error("lost")), () => Promise.resolve("here")];
  const { runs, draw } = began({});
  draw(() => held.read("walk", () => answers.shift()()).status);
  nextFrame();
  await new Promise(setImmediate);
  nextFrame();
  nextFrame();
  assert.deepEqual(runs, ["loading", "failed"]);
  held.forgetFailures();
  nextFrame();
  await new Promise(setImmediate);
  nextFrame();
  assert.deepEqual(runs, ["loading", "failed", "loading", "ready"]);
});

test("what was not read for longest goes", async () => {
  const held = new Resources(2);
  held.put("a", 1);
  held.put("b", 2);
  held.peek("a");
  held.put("c", 3);
  assert.equal(held.peek("a").value, 1);
  assert.equal(held.peek("b").value, null);
});
