import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { presentedViews, stepTo } = await load("app/presenting.js");

test("steps go through a view's figures, then to the view beside it, and end at the ends", () => {
  const counts = [3, 1, 1];
  const walked = [{ view: 0, slide: 0 }];
  for (let next = stepTo(counts, walked[0], 1); next; next = stepTo(counts, walked.at(-1), 1)) walked.push(next);
  assert.deepEqual(walked.map(({ view, slide }) => [view, slide]), [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0]]);
  const back = [walked.at(-1)];
  for (let next = stepTo(counts, back[0], -1); next; next = stepTo(counts, back.at(-1), -1)) back.push(next);
  assert.deepEqual(back, walked.toReversed());
});

test("a comparison and a film are presented where there is one", () => {
  const names = ["explain", "compare", "training", "learn"];
  assert.deepEqual(presentedViews(names, { other: null, result: { film: {} } }), ["explain"]);
  const result = { film: { url: "film" } };
  assert.deepEqual(presentedViews(names, { other: { result }, result }), ["explain", "compare", "training"]);
});
