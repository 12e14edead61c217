// How the class token moves through the layers: alike by layer, and its path on two components.

import { el, setText } from "../../base/dom.js";
import { fixed, percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createTrail } from "../../charts/trail.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { tableFor } from "../../maps/colours.js";
import { thumbnail } from "../../maps/pixels.js";

const LIMITS = [0, 1];

/** @param {Context} context */
export function createTokenPath(context) {
  const { store } = context;
  /** @param {number} layer */
  const choose = (layer) => store.set({ layer });
  const title = el("h3");
  const alike = createAlike(choose);
  const path = createTrail(choose);
  const [alikeHelp, pathHelp] = [el("p", { class: "note" }), el("p", { class: "note" })];
  const says = el("p", { class: "says" });
  let shown = null;
  const code = () => ({ figure: "token-path" });
  const menus = {
    alike: createFigureMenu(context, "layer-similarity", {
      title: () => t("layers.path.alike"),
      figure: () => ({
        paint: (canvas, width, height) => {
          canvas.imageSmoothingEnabled = false;
          canvas.drawImage(alike.canvas, 0, 0, width, height);
        },
        aspect: 1,
        bar: { table: tableFor(store.get().colormap), limits: LIMITS, format: String },
      }),
      table: () => [
        ["layer", "other", "cosine"],
        ...shown.similarity.flatMap((row, layer) =>
          row.map((value, other) => [layer + 1, other + 1, value]),
        ),
      ],
      code,
    }),
    path: createFigureMenu(context, "token-path", {
      title: () => t("layers.path.walk"),
      figure: () => ({ svg: path.node }),
      table: () => [
        ["layer", "component 1", "component 2"],
        ...shown.points.map((point, layer) => [layer + 1, ...point]),
      ],
      code,
    }),
  };
  const node = el(
    "section",
    { class: "card depth-card" },
    title,
    el(
      "div",
      { class: "path-figures" },
      el(
        "div",
        { class: "path-alike" },
        el("h4", {}, t("layers.path.alike"), menus.alike),
        alike.node,
        alike.bar,
        alikeHelp,
      ),
      el(
        "div",
        { class: "path-walk" },
        el("h4", {}, t("layers.path.walk"), menus.path),
        path.node,
        pathHelp,
        says,
      ),
    ),
  );

  /** @param {State} state */
  function draw(state, found) {
    shown = found;
    const token = t(found.reads_patches ? "layers.path.token.mean" : "layers.path.token.class");
    setText(title, t("layers.path.title", { token }));
    alike.draw(state, found.similarity);
    const held = percent(found.shares[0] + found.shares[1]);
    setText(alikeHelp, t("layers.path.alike.help", { token }));
    setText(pathHelp, t("layers.path.walk.help", { token, share: held }));
    const words = longestStep(found.points);
    setText(says, words);
    path.draw({
      points: found.points,
      chosen: state.layer,
      names: [componentOf(found, 1), componentOf(found, 2)],
      titles: found.points.map((_, layer) => t("heads.layer.one", { layer: layer + 1 })),
      text: words,
    });
  }
  return { node, draw };
}

const componentOf = ({ shares }, number) =>
  t("layers.path.component", { number, share: percent(shares[number - 1]) });

function longestStep(points) {
  if (points.length < 2) return t("layers.path.single");
  const steps = points
    .slice(1)
    .map(([x, y], at) => Math.hypot(x - points[at][0], y - points[at][1]));
  const [far, near] = [Math.max(...steps), Math.min(...steps)].map((step) => steps.indexOf(step));
  return t("layers.path.says", { from: far + 1, to: far + 2, near: near + 1, nearTo: near + 2 });
}

/** Cosine of every layer to every other, a cell each, with the chosen layer's row marked. */
function createAlike(choose) {
  const canvas = el("canvas", { class: "pixelated", role: "img" });
  const mark = el("span", { class: "alike-mark" });
  const ends = [el("span"), el("span")];
  const bar = createColourBar((value) => fixed(value, 0));
  const box = el("div", { class: "alike-box", onclick: pick }, canvas, mark);
  const node = el("div", { class: "alike" }, el("div", { class: "alike-side" }, ends), box);
  let depth = 1;

  function pick(event) {
    const bounds = canvas.getBoundingClientRect();
    const layer = Math.floor(((event.clientY - bounds.top) / bounds.height) * depth);
    choose(Math.min(depth - 1, Math.max(0, layer)));
  }

  /** @param {State} state */
  function draw(state, similarity) {
    depth = similarity.length;
    if (canvas.width !== depth) canvas.width = canvas.height = depth;
    const table = tableFor(state.colormap);
    const image = thumbnail(similarity.flat(), [depth, depth], table, LIMITS);
    canvas.getContext("2d").putImageData(image, 0, 0);
    bar.show(table, LIMITS);
    setText(ends[0], t("heads.layer.one", { layer: 1 }));
    setText(ends[1], t("heads.layer.one", { layer: depth }));
    mark.style.setProperty("--at", String(state.layer / depth));
    mark.style.setProperty("--part", String(1 / depth));
    const own = similarity[state.layer];
    canvas.setAttribute(
      "aria-label",
      t("layers.path.alike.text", {
        layer: state.layer + 1,
        first: fixed(own[0], 2),
        last: fixed(own.at(-1), 2),
        depth,
      }),
    );
  }
  return { node, canvas, bar: bar.node, draw };
}
