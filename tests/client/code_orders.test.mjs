import assert from "node:assert/strict";
import { test } from "node:test";
import { load, modelOf, serve } from "./page.mjs";

const { attentionCode, editCode, mapCode } = await load("state/code_orders.js");
const { Refusal } = await load("server/refusal.js");
const { speak } = await load("base/words.js");
const { writeCode } = await load("server/requests.js");

const LOOK = { opacity: 0.6, colormap: "viridis", smooth: true, whole: false };
const result = { key: "k", model: modelOf(4, 4), attention: { whole: true } };

test("a map's limits are told where maps share a scale, a layer where it is chosen", () => {
  const plain = { figure: "map", method: "grad_cam", layer: null, ...LOOK, limits: null };
  const map = { name: "grad_cam", id: "grad_cam@0" };
  assert.deepEqual(mapCode(map, { ...LOOK, shared: false }, [0, 1]), plain);
  assert.deepEqual(mapCode({ ...map, layer: 0 }, { ...LOOK, shared: true }, [0, 1]), {
    ...plain,
    layer: 0,
    limits: [0, 1],
  });
});

test("attention is the pinned token's, and rolled out of no head alone", () => {
  const state = { result, layer: 1, head: 2, pinned: 5, hover: 9, direction: "to", mass: 0.5 };
  const chosen = { figure: "attention", layer: 1, token: 5, direction: "to", mass: 0.5 };
  assert.deepEqual(attentionCode({ ...state, rolled: false }), { ...chosen, head: 2, rolled: false });
  assert.deepEqual(attentionCode({ ...state, rolled: true }), { ...chosen, head: "mean", rolled: true });
});

test("heads that are off are pairs of layer and head", () => {
  const edit = { patches: [1], heads: [0, 7], how: "grey" };
  assert.deepEqual(editCode({ result, edit }), { heads: [[0, 0], [1, 3]], how: "grey" });
});

test("code comes from the server, or a refusal in its words", async () => {
  serve();
  await speak("en", {});
  const orders = [];
  serve({
    "results/k/code": ({ body }) => {
      orders.push(JSON.parse(body));
      return Response.json({ python: "import", command: null });
    },
    "results/gone/code": () => Response.json({ error: { text: "It is gone." } }, { status: 404 }),
  });
  assert.deepEqual(await writeCode(result, { figure: "patches" }), { python: "import", command: null });
  assert.deepEqual(orders, [{ figure: "patches" }]);
  await assert.rejects(writeCode({ ...result, key: "gone" }, { figure: "patches" }), (error) => {
    assert.ok(error instanceof Refusal);
    return error.message === "It is gone.";
  });
});
