// How far each head looks: its mean attention distance, one dot a head, a column a layer.

import { niceStep, svg } from "./chart.js";
import { el } from "./dom.js";
import { t } from "./words.js";

const [HEIGHT, LEFT, BOTTOM, TOP] = [190, 30, 34, 8];

/**
 * Pixels of the model's input, for each head of a layer: the mean over the patches of the distance
 * to what they look at, attention to prefix tokens left out (ViT, figure 7 right; appendix D.8).
 */
export function meanDistances(pack, { heads, tokens, prefix }, { grid, patch }) {
  const patches = tokens - prefix;
  const [high, wide] = patch;
  const apart = new Float32Array(grid[0] * grid[1]);
  for (let row = 0; row < grid[0]; row += 1) {
    for (let column = 0; column < grid[1]; column += 1) {
      apart[row * grid[1] + column] = Math.hypot(row * high, column * wide);
    }
  }
  return Array.from({ length: heads }, (_, head) => {
    let total = 0;
    for (let query = 0; query < patches; query += 1) {
      const start = (head * tokens + prefix + query) * patches;
      const [row, column] = [Math.floor(query / grid[1]), query % grid[1]];
      let [weighted, mass] = [0, 0];
      for (let key = 0; key < patches; key += 1) {
        const level = pack.levels[start + key];
        const down = Math.abs(Math.floor(key / grid[1]) - row);
        weighted += level * apart[down * grid[1] + Math.abs((key % grid[1]) - column)];
        mass += level;
      }
      total += mass ? weighted / mass : 0;
    }
    return total / patches;
  });
}

/**
 * One dot a head; `layers` is a list of [layer, distances of its heads], `reach` the largest
 * distance on the axis, and `chosen(layer, head)` says which dots stand out.
 */
export function createHeadPlot({ height = HEIGHT, onChoose = null } = {}) {
  const node = svg("svg", { role: "img", height });

  function paint({ width, layers, depth, reach, chosen = () => false }) {
    const x = (layer) => LEFT + ((layer + 0.5) / depth) * (width - LEFT - 6);
    const y = (distance) => height - BOTTOM - (distance / reach) * (height - BOTTOM - TOP);
    const dots = layers.flatMap(([layer, distances]) =>
      [...distances].map((distance, head) =>
        dot(layer, head, distance, [x(layer), y(distance)], chosen(layer, head)),
      ),
    );
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    node.replaceChildren(...axes({ width, height, depth, reach }, x, y), ...dots);
    const all = layers.flatMap(([, distances]) => [...distances]);
    const ends = { low: Math.round(Math.min(...all)), high: Math.round(Math.max(...all)) };
    node.setAttribute("aria-label", all.length ? t("distance.text", ends) : t("distance.title"));
  }

  function dot(layer, head, distance, [cx, cy], chosen) {
    const name = ["dot", chosen ? "chosen" : "", onChoose ? "choosable" : ""].join(" ").trim();
    const circle = svg("circle", { cx, cy, r: chosen ? 5 : 4, class: name });
    const values = { layer: layer + 1, head: head + 1, distance: Math.round(distance) };
    circle.append(svg("title", {}, t("distance.one", values)));
    if (onChoose) circle.addEventListener("click", () => onChoose(layer, head));
    return circle;
  }
  return { node, paint };
}

export function createDistancePlot({ store }) {
  const plot = createHeadPlot({ onChoose: (layer, head) => store.set({ layer, head }) });
  const node = el(
    "div",
    { class: "distance" },
    el("h3", {}, t("distance.title")),
    plot.node,
    el("p", { class: "note" }, t("distance.help")),
  );
  let known = new Map();
  let pass = "";
  let drawn = "";
  new ResizeObserver(() => store.get().result && draw(store.get())).observe(node);

  function draw(state) {
    const { model, attention, pass: current } = state.result;
    node.hidden = !attention.whole;
    if (pass !== current) known = new Map();
    pass = current;
    for (const [index, pack] of attention.data.layers) {
      if (!known.has(index)) known.set(index, meanDistances(pack, attention, model));
    }
    const width = node.clientWidth;
    const key = [pass, known.size, state.layer, state.head, width].join();
    if (width && key !== drawn) paint(state, width);
    drawn = key;
  }

  function paint({ result, layer, head }, width) {
    const { depth, image } = result.model;
    const reach = Math.hypot(...image) / 2;
    const chosen = (index, number) =>
      index === layer && (typeof head !== "number" || head === number);
    plot.paint({ width, layers: [...known], depth, reach, chosen });
  }
  return { node, draw };
}

function axes({ width, height, depth, reach }, x, y) {
  const parts = [];
  const step = niceStep(reach / 3);
  for (let mark = 0; mark <= reach; mark += step) {
    const at = y(mark);
    parts.push(svg("line", { x1: LEFT, x2: width, y1: at, y2: at, class: "rule" }));
    parts.push(svg("text", { x: LEFT - 6, y: at + 4, class: "tick-y" }, mark));
  }
  for (let index = 0; index < depth; index += Math.ceil(depth / 12)) {
    const place = { x: x(index), y: height - BOTTOM + 15, class: "tick-x" };
    parts.push(svg("text", place, index + 1));
  }
  const middle = { x: (LEFT + width) / 2, y: height - 4, class: "tick-x" };
  parts.push(svg("text", middle, t("attention.layer")));
  return parts;
}
