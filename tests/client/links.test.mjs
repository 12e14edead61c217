import assert from "node:assert/strict";
import { test } from "node:test";
import { load, modelOf } from "./page.mjs";

const { VIEW_LINKS } = await load("app/view_links.js");
const { START } = await load("state/state.js");

const model = { ...modelOf(4, 4), key: "vit" };
const result = { model, pass: "cat", maps: [{ name: "rollout" }, { name: "grad_cam" }] };
const state = { ...START, result };

// A choice in each view that isn't what the page starts with, and its text.
const CHOICES = {
  maps: [{ methods: ["rollout", "attention"] }, "rollout,attention"],
  at: [{ mapLayers: { grad_cam: 1 } }, "grad_cam:2"],
  direction: [{ direction: "to" }, "to"],
  rolled: [{ rolled: true }, "1"],
  mass: [{ mass: 0.3 }, "30"],
  stage: [{ tab: "patches", stage: "prefix" }, "prefix"],
  patches: [{ tab: "layers", patchLens: "top" }, "top"],
  part: [{ tab: "positions", positionsPart: "grid" }, "grid"],
  scale: [{ tab: "positions", gridScale: 1.5 }, "1.5"],
  without: [{ edit: { patches: [1, 2], heads: [0], how: "grey" } }, "p1-2_h0_grey"],
  ranking: [{ ranking: "grad_cam" }, "grad_cam"],
  shows: [{ tab: "compare", comparePart: "positions" }, "positions"],
  method: [{ tab: "compare", compareMethod: "rollout" }, "rollout"],
  sides: [{ tab: "compare", compareShared: false }, "own"],
  beside: [
    { tab: "compare", otherKind: "model", otherWanted: { kind: "model", name: "vit", label: "vit" } },
    "model:vit",
  ],
  by: [{ protocol: "pixels" }, "pixels"],
  epoch: [{ tab: "training", epochWanted: 7 }, "7"],
  step: [{ tab: "learn", step: 3 }, "4"],
  set: [{ tab: "data", dataWanted: "a_key-of-a-set" }, "a_key-of-a-set"],
  pictures: [{ tab: "data", dataFilter: { label: 3, predicted: -1, verdict: "wrong", sure: "all" } }, "3,,wrong,all"],
};

test("every view's choices have names of their own", () => {
  const names = VIEW_LINKS.map(({ name }) => name);
  assert.deepEqual(names.toSorted(), Object.keys(CHOICES).toSorted());
});

for (const { name, keys, write, read } of VIEW_LINKS) {
  const [choice, text] = CHOICES[name];
  test(`a link's ${name} says what was chosen, and nothing where nothing was`, () => {
    assert.equal(write(state), null);
    assert.equal(String(write({ ...state, ...choice })), text);
    const found = read(text, result);
    for (const key of Object.keys(choice).filter((each) => each !== "tab"))
      assert.deepEqual(found[key], choice[key]);
    assert.ok(keys.every((key) => key in START));
  });
  test(`a link's ${name} that is not understood is left out`, () => {
    const found = read("no such thing", result);
    assert.ok(found === null || Object.values(found).every((value) => Object.keys(value).length === 0));
  });
}
