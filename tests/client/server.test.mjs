import assert from "node:assert/strict";
import { test } from "node:test";
import { load, serve } from "./page.mjs";

const { rowsOf, unpack } = await load("server/packed.js");
const { createAnalyser, linesOf } = await load("server/jobs.js");
const { Attention } = await load("server/attention_data.js");
const { decimal } = await load("base/format.js");
const { csv } = await load("base/csv.js");
const { gridTable } = await load("controls/figure_menu.js");
const { speak } = await load("base/words.js");

/** A file in safetensors' layout, by its description. */
function packed(header, bytes) {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const text = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(32);
  text.set(json);
  const buffer = new ArrayBuffer(8 + text.length + bytes.length);
  new DataView(buffer).setBigUint64(0, BigInt(text.length), true);
  new Uint8Array(buffer, 8).set(text);
  new Uint8Array(buffer, 8 + text.length).set(bytes);
  return buffer;
}

test("facts and arrays are read from safetensors' layout", () => {
  const floats = new Uint8Array(new Float32Array([1.5, -2, 3, 0.25]).buffer);
  const read = unpack(
    packed(
      {
        __metadata__: { facts: '{"scale":0.125,"names":["ü"]}' },
        a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] },
        b: { dtype: "U8", shape: [3], data_offsets: [16, 19] },
        none: { dtype: "U8", shape: [2, 0], data_offsets: [19, 19] },
      },
      [...floats, 255, 0, 7],
    ),
  );
  assert.deepEqual(read.facts, { scale: 0.125, names: ["ü"] });
  assert.deepEqual([...read.arrays.a], [1.5, -2, 3, 0.25]);
  assert.deepEqual([...read.arrays.b], [255, 0, 7]);
  assert.deepEqual(rowsOf(read, "a"), [[1.5, -2], [3, 0.25]]);
  assert.deepEqual(rowsOf(read, "none"), [[], []]);
});

test("a file's numbers are float32 in the fewest digits that read back the same", () => {
  for (const value of [0.1, 1 / 3, 1.2345e-12, -7.25, 3.4e38, 16777217 / 16]) {
    const text = decimal(Math.fround(value));
    assert.equal(Math.fround(Number(text)), Math.fround(value));
    assert.ok(text.replace(/e.*|[-.]/g, "").replace(/^0+/, "").length <= 9, text);
  }
  assert.deepEqual([0, 12, 0.1, 2 ** 31, NaN, -Infinity].map(decimal), ["0", "12", "0.1", "2147483648", "NaN", "-Infinity"]);
  const { columns, rows, grid } = gridTable(Float32Array.of(0.1, 0.25), [1, 2], "cosine");
  assert.deepEqual(grid, [1, 2]);
  assert.equal(csv([columns, ...rows]), "row,column,cosine\r\n1,1,0.1\r\n1,2,0.25\r\n");
});

test("what a token gives and gets is read from its own rows where layers are too large", async () => {
  const info = { url: "http://page.test/explorer/r", depth: 2, heads: 1, tokens: 2, prefix: 0 };
  const attention = new Attention(info);
  const answer = (values) => () => {
    const header = {
      __metadata__: { facts: "{}" },
      attention: { dtype: "F32", shape: [2, 1, 2], data_offsets: [0, 16] },
    };
    return new Response(packed(header, new Uint8Array(Float32Array.from(values).buffer)));
  };
  serve({ "r/queries/1/from": answer([0.5, 0.5, 1, 0]), "r/queries/1/to": answer([0.25, 0.5, 0, 0]) });
  const asked = { layer: 0, head: 0, query: 1 };
  await attention.loadQuery(1);
  assert.deepEqual([...attention.map({ ...asked, direction: "from" })], [0.5, 0.5]);
  assert.equal(attention.map({ ...asked, direction: "to" }), null);
  await attention.loadQuery(1, "to");
  assert.deepEqual([...attention.map({ ...asked, direction: "to" })], [0.25, 0.5]);
});

test("rollout is the product of the mean attention and the identity", async () => {
  // Two tokens, one head, no prefix.
  const info = { url: "http://page.test/explorer/r", depth: 2, heads: 1, tokens: 2, prefix: 0 };
  const attention = new Attention(info);
  const answers = {};
  const [one, two] = [[[1, 0], [0.5, 0.5]], [[0, 1], [0, 1]]];
  for (const [layer, matrix] of [one, two].entries()) {
    const header = {
      __metadata__: { facts: "{}" },
      attention: { dtype: "F32", shape: [1, 2, 2], data_offsets: [0, 16] },
    };
    const bytes = new Uint8Array(Float32Array.from(matrix.flat()).buffer);
    answers[`r/layers/${layer}`] = () => new Response(packed(header, bytes));
  }
  assert.equal(attention.rollout({ layer: 1, fusion: "mean", query: 0, direction: "from" }), null);
  serve(answers);
  await attention.loadAll();
  assert.equal(attention.count, 2);
  const half = (m) => m.map((row, i) => row.map((v, j) => (v + (i === j)) / 2));
  const times = (a, b) => a.map((row) => b[0].map((_, j) => row[0] * b[0][j] + row[1] * b[1][j]));
  const expected = times(half(two), half(one));
  for (const query of [0, 1]) {
    const row = attention.rollout({ layer: 1, fusion: "mean", query, direction: "from" });
    row.forEach((value, key) => assert.ok(Math.abs(value - expected[query][key]) < 1e-6));
    const column = attention.rollout({ layer: 1, fusion: "mean", query, direction: "to" });
    column.forEach((value, key) => assert.ok(Math.abs(value - expected[key][query]) < 1e-6));
  }
});

/** An answer that comes in pieces, which may end anywhere. */
const pieces = (...parts) =>
  new Response(
    new ReadableStream({
      start(controller) {
        for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
        controller.close();
      },
    }),
  );

const all = async (lines) => {
  const found = [];
  for await (const line of lines) found.push(line);
  return found;
};

test("a job's lines are whole, wherever its answer is cut", async () => {
  serve({ explanations: () => pieces('{"loading":"v', 'it","seconds":0}\n\n{"res', 'ult":1}\n') });
  const { signal } = new AbortController();
  const found = await all(linesOf("explanations", {}, signal));
  assert.deepEqual(found, [{ loading: "vit", seconds: 0 }, { result: 1 }]);
});

test("a job's refusal is thrown in the server's sentence, with its part", async () => {
  serve();
  await speak("en", {});
  serve({ explanations: () => pieces('{"error":{"text":"There is no model."},"part":"model"}\n') });
  const asked = all(linesOf("explanations", {}, new AbortController().signal));
  await assert.rejects(asked, (error) => error.message === "There is no model." && error.part === "model");
});

test("a refusal by status is the server's sentence, or ours where it has none", async () => {
  serve();
  await speak("en", {});
  const { signal } = new AbortController();
  serve({ explanations: () => Response.json({ error: { text: "The order is too long." } }, { status: 413 }) });
  await assert.rejects(all(linesOf("explanations", {}, signal)), /^Error: The order is too long\.$/);
  serve({ explanations: () => Response.json({ detail: "Not Found" }, { status: 404 }) });
  await assert.rejects(all(linesOf("explanations", {}, signal)), /404/);
  // A proxy's own, in its own words.
  for (const [status, told] of [[413, /client_max_body_size/], [502, /no answer from it \(502\)/]]) {
    serve({ explanations: () => new Response("<html>nginx</html>", { status }) });
    await assert.rejects(all(linesOf("explanations", {}, signal)), told);
  }
});

test("only the newest question is answered, and stopping hangs up", async () => {
  const signals = [];
  const answers = [];
  globalThis.fetch = (_, { body, signal }) => {
    signals.push(signal);
    return new Promise((answer, refuse) => {
      answers.push(() => answer(pieces(`{"result":${JSON.parse(body).picture}}\n`)));
      signal.addEventListener("abort", () => refuse(new DOMException("aborted", "AbortError")));
    });
  };
  const heard = [];
  const analyser = createAnalyser({
    offline: () => "offline",
    onLoading: () => {},
    onError: (sentence) => heard.push(sentence),
    onResult: (result) => heard.push(result),
  });
  const [first, second] = [analyser.ask({ picture: 1 }), analyser.ask({ picture: 2 })];
  answers[1]();
  await Promise.all([first, second]);
  assert.ok(signals[0].aborted);
  assert.deepEqual(heard, [2]);
  const third = analyser.ask({ picture: 3 });
  analyser.stop();
  await third;
  assert.ok(signals[2].aborted);
  assert.deepEqual(heard, [2]);
  globalThis.fetch = () => Promise.reject(new TypeError("network"));
  await analyser.ask({ picture: 4 });
  assert.deepEqual(heard, [2, "offline"]);
});

test("a model that is waited for is told by its download's share, or by the seconds", async () => {
  const waiting = { loading: "vit", seconds: 3 };
  const lines = [waiting, { ...waiting, here: 6e6, total: 24e6 }];
  globalThis.fetch = async () => pieces(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const heard = [];
  const analyser = createAnalyser({
    offline: () => "offline",
    onLoading: (sentence) => heard.push(sentence),
    onError: () => {},
    onResult: () => {},
  });
  await analyser.ask({ picture: "cat", model: "vit", target: null });
  assert.match(heard[0], /3/);
  assert.match(heard[1], /6\.0.*24\.0.*25\.0/);
});
