// All heads of a layer side by side, and small maps that choose what is shown large.

import { el, replace, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { createChooser, oneHead } from "../../controls/number_tables.js";
import { tableFor } from "../../maps/colours.js";
import { bracket, formula, row, sub } from "../../maps/math.js";
import { maximum, thumbnail } from "../../maps/pixels.js";
import { captionOf, codeOf, showHere, where } from "./attention.js";

export const heads = {
  tab: "attention",
  values: (state, facts) => ({
    ...where(state),
    scaled: facts?.scaled ? t("learn.heads.scaled") : "",
    heads: state.result.model.heads,
    width: state.result.model.head_width,
    dim: state.result.model.dim,
  }),
  map: (_, state) => {
    const found = rowOf(state, oneHead(state));
    return found && { name: "attention", values: found, limits: [0, maximum(found) || 1] };
  },
  detail: captionOf(),
  opens: showHere,
  code: codeOf(),
  builds: true,
  kinds: ({ heads: count, attends }, facts) => {
    const trying = count === 1 ? { try: ".one" } : {};
    if (attends === "written" || (facts && !facts.mixed)) return { text: ".unread", ...trying };
    return count === 1 ? { text: ".one", ...trying } : {};
  },
  formula: ({ heads: count, attends }, { biases, mixed: mixes, scaled }) => {
    if (attends === "written" || !mixes) return null;
    const bias = biases.includes("o") ? ["+", sub("b", "O")] : [];
    const mixed = row(sub("W", "O"), sideBySide(count), ...bias);
    const scale = [sub("λ", "1"), "∘", bracket("("), mixed, bracket(")")];
    return formula("A", "=", ...(scaled ? scale : [mixed]));
  },
  /** @param {Context} context */
  create({ store }) {
    const chooser = createChooser(store, { heads: false });
    const grid = el("div", { class: "learn-thumbs", role: "group", "aria-label": t("heads.heads") });
    const says = el("p", { class: "says", "aria-live": "polite" });
    const node = el("div", { class: "learn-stack" }, grid, says);

    /** @param {State} state */
    function draw(state) {
      chooser.show(state);
      const { model } = state.result;
      needRows(store, state);
      const parts = Array.from({ length: model.heads }, (_, head) => ({
        name: t("learn.heads.one", { head: head + 1 }),
        values: rowOf(state, head),
        chosen: head === oneHead(state),
        choose: () => store.set({ head }),
      }));
      showThumbs(grid, parts, model, state.colormap);
      const here = parts.every(({ values }) => values);
      setText(says, here ? t("learn.heads.says", where(state)) : t("heads.waiting"));
    }
    return { node, aside: chooser.node, draw };
  },
};

/** The outputs of so many heads as one vector. */
function sideBySide(count) {
  if (count === 1) return sub("o", "1");
  const between = count > 2 ? [";", "…", ";"] : [";"];
  return row(bracket("["), sub("o", "1"), ...between, sub("o", count), bracket("]"));
}

/**
 * What the pinned token attends to in the layer at hand, or in another.
 * @param {State} state
 */
export function rowOf({ result, pinned, layer }, head, at = layer) {
  const map = result.attention.data.map({ layer: at, head, query: pinned, direction: "from" });
  return map && map.subarray(result.model.prefix.length);
}

/**
 * Where whole layers are too large to come by themselves, the pinned token's rows are enough.
 * @param {Store} store
 * @param {State} state
 */
export function needRows(store, { result, pinned }) {
  if (result.attention.whole) return;
  result.attention.data.loadQuery(pinned);
}

/**
 * Small maps as buttons; each `part` is { name, values, chosen, choose }.
 * @param {Model} model
 */
export function showThumbs(node, parts, model, colormap) {
  if (node.childElementCount !== parts.length)
    replace(
      node,
      parts.map(() =>
        el(
          "button",
          { type: "button" },
          el("canvas", { class: "pixelated" }),
          el("span", {}),
        ),
      ),
    );
  node.style.setProperty("--cell-aspect", String(model.grid[1] / model.grid[0]));
  parts.forEach(({ name, values, chosen, choose }, index) => {
    const button = node.children[index];
    const [canvas, text] = button.children;
    button.onclick = choose;
    button.setAttribute("aria-pressed", String(chosen));
    setText(text, name);
    [canvas.width, canvas.height] = [model.grid[1], model.grid[0]];
    if (!values) return;
    const limits = [0, maximum(values) || 1];
    const image = thumbnail(values, model.grid, tableFor(colormap), limits);
    canvas.getContext("2d").putImageData(image, 0, 0);
  });
}
