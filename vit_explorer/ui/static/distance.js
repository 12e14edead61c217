// How far each head looks: its mean attention distance, one dot a head, a column a layer.

import { el } from "./dom.js";
import { t } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, LEFT, BOTTOM, TOP] = [190, 30, 34, 8];

function svg(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

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

/** The largest of 1, 2, 5, 10, 20, … that is at most `size`. */
function niceStep(size) {
  const ten = 10 ** Math.floor(Math.log10(size));
  return [5, 2, 1].find((factor) => factor * ten <= size) * ten;
}

export function createDistancePlot({ store }) {
  const plot = svg("svg", { role: "img", height: HEIGHT });
  const node = el(
    "div",
    { class: "distance" },
    el("h3", {}, t("distance.title")),
    plot,
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
    const x = (index) => LEFT + ((index + 0.5) / depth) * (width - LEFT - 6);
    const y = (distance) => HEIGHT - BOTTOM - (distance / reach) * (HEIGHT - BOTTOM - TOP);
    const dots = [...known].flatMap(([index, distances]) =>
      distances.map((distance, number) => {
        const chosen = index === layer && (typeof head !== "number" || head === number);
        return dot(index, number, distance, [x(index), y(distance)], chosen);
      }),
    );
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.replaceChildren(...axes(width, depth, reach, x, y), ...dots);
    const all = [...known.values()].flat();
    const ends = { low: Math.round(Math.min(...all)), high: Math.round(Math.max(...all)) };
    plot.setAttribute("aria-label", all.length ? t("distance.text", ends) : t("distance.title"));
  }

  function dot(layer, head, distance, [cx, cy], chosen) {
    const look = { r: chosen ? 5 : 4, class: chosen ? "dot chosen" : "dot" };
    const circle = svg("circle", { cx, cy, ...look });
    const values = { layer: layer + 1, head: head + 1, distance: Math.round(distance) };
    circle.append(svg("title", {}, t("distance.one", values)));
    circle.addEventListener("click", () => store.set({ layer, head }));
    return circle;
  }
  return { node, draw };
}

function axes(width, depth, reach, x, y) {
  const parts = [];
  const step = niceStep(reach / 3);
  for (let mark = 0; mark <= reach; mark += step) {
    const at = y(mark);
    parts.push(svg("line", { x1: LEFT, x2: width, y1: at, y2: at, class: "rule" }));
    parts.push(svg("text", { x: LEFT - 6, y: at + 4, class: "tick-y" }, mark));
  }
  for (let index = 0; index < depth; index += Math.ceil(depth / 12)) {
    const place = { x: x(index), y: HEIGHT - BOTTOM + 15, class: "tick-x" };
    parts.push(svg("text", place, index + 1));
  }
  const middle = { x: (LEFT + width) / 2, y: HEIGHT - 4, class: "tick-x" };
  parts.push(svg("text", middle, t("attention.layer")));
  return parts;
}
