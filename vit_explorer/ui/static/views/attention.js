// Attention: one large canvas for a query, and the matrix of all layers and heads as its index.

import { createColourBar } from "../colour_bar.js";
import { manner, tableFor } from "../colours.js";
import { createDistancePlot } from "../distance.js";
import { el, segmented, setText } from "../dom.js";
import { percent } from "../format.js";
import { cellOf, extremePatch, startToken, tokenName } from "../geometry.js";
import { createGlossary } from "../glossary.js";
import { createHeadMatrix } from "../head_matrix.js";
import { createPatchCanvas } from "../patch_canvas.js";
import { cropAspect } from "../picture.js";
import { maximum, overlay } from "../pixels.js";
import { queryToken } from "../store.js";
import { t } from "../words.js";

const DRAWN_BY = [
  "result",
  "image",
  "arrivals",
  "hover",
  "pinned",
  "layer",
  "head",
  "direction",
  "opacity",
  "colormap",
  "smooth",
];

export function createAttentionView({ store }) {
  const bar = createColourBar(percent);
  const says = el("p", { class: "says", "aria-live": "polite" });
  const help = el("p", { class: "note" });
  const matrix = createHeadMatrix({ store });
  const distance = createDistancePlot({ store });
  const canvas = createPatchCanvas({ store, label: t("attention.canvas"), paint });
  const tools = createToolbar(store);
  const node = el(
    "section",
    { class: "view view-attention" },
    tools.node,
    el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "stage" },
        canvas.canvas,
        bar.node,
        says,
        help,
        createGlossary(["class", "query", "pin"]),
      ),
      el("div", { class: "heads-side" }, matrix.node, distance.node),
    ),
  );

  function currentMap(state) {
    const { layer, head, direction } = state;
    return state.result.attention.data.map({ layer, head, direction, query: queryToken(state) });
  }

  function paint(context, width, height, state) {
    const base = state.image.pixels(width, height);
    const map = currentMap(state);
    if (!map) {
      context.putImageData(base, 0, 0);
      return;
    }
    const { model } = state.result;
    const values = map.subarray(model.prefix.length);
    const how = manner(state, { limits: [0, maximum(values) || 1] });
    context.putImageData(overlay(base, values, model.grid, how), 0, 0);
  }

  function describe(state) {
    const map = currentMap(state);
    if (!map) return t(state.arrivals < 0 ? "attention.failed" : "attention.waiting");
    const { model } = state.result;
    const [row, column] = cellOf(model, extremePatch(map, model.prefix.length));
    const top = percent(maximum(map.subarray(model.prefix.length)));
    const query = tokenName(model, queryToken(state));
    const { direction } = state;
    const shares = model.prefix.map(
      (_, token) => `${tokenName(model, token)} ${percent(map[token])}`,
    );
    const prefix = shares.length ? t("attention.prefix", { shares: shares.join(", ") }) : "";
    return t(`attention.says.${direction}`, {
      query: query[0].toUpperCase() + query.slice(1),
      row: row + 1,
      column: column + 1,
      top,
      prefix,
    }).trim();
  }

  function draw(state) {
    if (!state.result || state.tab !== "attention") return;
    const { model } = state.result;
    needMap(store, state);
    node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
    tools.show(state);
    matrix.draw(state);
    distance.draw(state);
    canvas.draw();
    const map = currentMap(state);
    if (map)
      bar.show(tableFor(state.colormap), [0, maximum(map.subarray(model.prefix.length)) || 1]);
    setText(says, describe(state));
    const start = model.prefix.length ? "attention.help" : "attention.help.none";
    setText(help, t(start, { token: tokenName(model, startToken(model)) }));
  }

  store.on(DRAWN_BY, draw);
  return { node, draw: () => draw(store.get()) };
}

/** Whole layers come by themselves where they are small; else each query is fetched when chosen. */
function needMap(store, state) {
  const { data, whole } = state.result.attention;
  if (whole) return;
  for (const token of new Set([state.pinned, queryToken(state)])) {
    data.loadQuery(token).catch(() => store.set({ arrivals: -1 }));
  }
}

function createToolbar(store) {
  const prefixes = el("span", { class: "prefixes" });
  const value = el("output", { for: "vx-layer" });
  const layer = el("input", {
    type: "range",
    min: "1",
    id: "vx-layer",
    oninput: () => store.set({ layer: Number(layer.value) - 1 }),
  });
  const heads = el("span", { class: "heads" });
  const direction = segmented(
    t("attention.direction"),
    [
      ["from", t("attention.from")],
      ["to", t("attention.to")],
    ],
    (choice) => store.set({ direction: choice }),
  );
  const node = el(
    "div",
    { class: "toolbar" },
    prefixes,
    direction.node,
    el("label", { class: "tool" }, t("attention.layer"), layer, value),
    el("span", { class: "tool" }, t("attention.heads"), heads),
  );
  let built = "";
  let headButtons = null;

  function rebuild(model) {
    layer.max = String(model.depth);
    const each = Array.from({ length: model.heads }, (_, head) => [head, String(head + 1)]);
    const choices = [["mean", t("attention.mean")], ["max", t("attention.max")], ...each];
    headButtons = segmented(t("attention.heads"), choices, (head) => store.set({ head }));
    heads.replaceChildren(headButtons.node);
    prefixes.replaceChildren(
      ...model.prefix.map((_, token) =>
        el(
          "button",
          {
            type: "button",
            class: "chip",
            dataset: { token: String(token) },
            onclick: () => store.set({ pinned: token, hover: null }),
          },
          tokenName(model, token),
        ),
      ),
    );
  }

  function show(state) {
    const { model } = state.result;
    const key = `${model.depth} ${model.heads} ${model.prefix}`;
    if (key !== built) rebuild(model);
    built = key;
    layer.value = String(state.layer + 1);
    setText(value, `${state.layer + 1}/${model.depth}`);
    headButtons.show(state.head);
    direction.show(state.direction);
    direction.node.hidden = !state.result.attention.whole;
    const token = queryToken(state);
    for (const chip of prefixes.children) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.token) === token));
    }
  }
  return { node, show };
}
