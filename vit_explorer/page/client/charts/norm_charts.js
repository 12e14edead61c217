// Two charts of token norms: how they spread, and how much attention outliers take.

import { keepSize, replace } from "../base/dom.js";
import { percent, short } from "../base/format.js";
import { svg } from "../base/svg.js";
import { t } from "../base/words.js";
import { linear } from "./scales.js";

const [SIDE, FOOT, HEAD] = [8, 32, 18];

/** How many patches have which norm; outliers stand out in colour, right of the dashed line. */
export function createHistogram() {
  const node = svg("svg", { role: "img", class: "norm-chart" });
  /** @type {Parameters<typeof draw> | null} */
  let shown = null;
  const size = keepSize(node, () => shown && draw(...shown));

  function draw(layer, value) {
    shown = [layer, value];
    const { width, height } = size;
    if (!width) return;
    const { counts, edges, threshold, median, outliers } = layer;
    const [low, high] = [edges[0], edges.at(-1)];
    const x = linear([low, high], [SIDE, width - SIDE]);
    const y = linear([0, Math.max(...counts)], [height - FOOT, HEAD]);
    const inside = (norm) => norm >= low && norm <= high;
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    node.setAttribute(
      "aria-label",
      t("norms.histogram.text", {
        low: short(low),
        high: short(high),
        median: short(median),
        count: outliers.length,
      }),
    );
    const bars = counts.map((count, at) =>
      svg("rect", {
        x: x(edges[at]) + 0.5,
        y: y(count),
        width: Math.max(1, x(edges[at + 1]) - x(edges[at]) - 1),
        height: height - FOOT - y(count),
        // Edges come rounded, so a bin is judged by its middle.
        class: edges[at] + edges[at + 1] > 2 * threshold ? "bin bin-high" : "bin",
      }),
    );
    const line = (norm, name) =>
      inside(norm)
        ? svg("line", { x1: x(norm), x2: x(norm), y1: HEAD - 6, y2: height - FOOT, class: name })
        : [];
    replace(
      node,
      svg("line", {
        x1: SIDE,
        x2: width - SIDE,
        y1: height - FOOT,
        y2: height - FOOT,
        class: "rule",
      }),
      bars,
      line(threshold, "threshold"),
      line(value, "head"),
      ends([low, high], x, height),
      svg("text", { x: width / 2, y: height - 3, class: "tick-x" }, t("norms.axis")),
    );
  }
  return { node, draw };
}

/**
 * @param {any} values
 * @param {number} height
 */
function ends([low, high], x, height) {
  const place = { y: height - FOOT + 15 };
  return [
    svg("text", { ...place, x: x(low) }, short(Number(low.toPrecision(3)))),
    svg("text", { ...place, x: x(high), class: "tick-y" }, short(Number(high.toPrecision(3)))),
  ];
}

/**
 * Attention that outliers take, a pair of bars a layer, with their number above.
 * @param {Store} store
 */
export function createTaken(store) {
  const node = svg("svg", { role: "img", class: "norm-chart" });
  /** @type {Parameters<typeof draw> | null} */
  let shown = null;
  const size = keepSize(node, () => shown && draw(...shown));

  /** @param {State} state */
  function draw(state, layers) {
    shown = [state, layers];
    const { width, height } = size;
    if (!width) return;
    const shares = layers.map(({ class_share: own, mean_share: mean }) => [own, mean]);
    const top = Math.max(0.05, ...shares.flat().map((share) => share ?? 0));
    const wide = (width - 2 * SIDE) / layers.length;
    const y = linear([0, top], [height - FOOT, HEAD]);
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const most = layers.findIndex(
      ({ mean_share: mean }) => mean === Math.max(...shares.map(([, m]) => m)),
    );
    const values = { layer: most + 1, share: percent(layers[most].mean_share) };
    const any = layers.some(({ outliers }) => outliers.length);
    node.setAttribute("aria-label", any ? t("norms.taken.text", values) : t("norms.taken.none"));
    const parts = layers.flatMap((layer, index) => column(layer, index, { wide, y, height }));
    replace(
      node,
      svg("rect", {
        x: SIDE + state.layer * wide,
        y: 0,
        width: wide,
        height: height - FOOT + 19,
        class: "here-column",
      }),
      svg("line", {
        x1: SIDE,
        x2: width - SIDE,
        y1: height - FOOT,
        y2: height - FOOT,
        class: "rule",
      }),
      parts,
      svg("text", { x: width / 2, y: height - 3, class: "tick-x" }, t("attention.layer")),
      any
        ? []
        : svg("text", { x: width / 2, y: height / 2 - 8, class: "tick-x" }, t("norms.taken.none")),
    );
  }

  function column({ class_share: own, mean_share: mean, outliers }, index, { wide, y, height }) {
    const left = SIDE + index * wide;
    const thick = Math.max(2, wide * 0.32);
    const bar = (share, at, name) =>
      svg("rect", {
        x: left + wide / 2 + at * thick,
        y: y(share),
        width: thick - 0.5,
        height: height - FOOT - y(share),
        class: name,
      });
    const target = svg("rect", {
      x: left,
      y: 0,
      width: wide,
      height: height - FOOT,
      class: "catcher",
    });
    target.append(svg("title", {}, t("depth.one", { layer: index + 1 })));
    target.addEventListener("click", () => store.set({ layer: index }));
    const middle = left + wide / 2;
    const label = wide > 13 || index % 2 === 0 ? String(index + 1) : "";
    return [
      own === null ? [] : bar(own, -1, "bin bin-high"),
      bar(mean, 0, "bin"),
      svg("text", { x: middle, y: height - FOOT + 15, class: "tick-x" }, label),
      outliers.length
        ? svg(
            "text",
            { x: middle, y: y(Math.max(own ?? 0, mean)) - 4, class: "tick-x count" },
            outliers.length,
          )
        : [],
      target,
    ].flat();
  }
  return { node, draw };
}
