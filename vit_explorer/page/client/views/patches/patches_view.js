// Patches: from picture to tokens, stage by stage, and one patch followed through them.

import { el, replace, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { createNumbers, waiting } from "../../controls/number_tables.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { createPatchZoom, zoomedToken } from "../../controls/patch_zoom.js";
import { sumRows } from "../../controls/token_tables.js";
import { tokenName } from "../../maps/geometry.js";
import { numbersOf } from "../../server/packed.js";
import { queryToken } from "../../state/store.js";
import { createFilters } from "./patch_filters.js";
import {
  createMatrix,
  createPipeline,
  paintPicture,
  stageImage,
  stagesOf,
  stageText,
} from "./patch_stages.js";

const SMALLEST_NUMBERED = 22;

/** @param {Context} context */
export function createPatchesView(context) {
  const { store } = context;
  const canvas = createPatchCanvas({ store, label: t("patches.canvas"), paint, shown: zoomedToken });
  const title = el("h3");
  const menu = createFigureMenu(context, "patches", {
    title: (state) => gridTitle(state.result.model),
    figure: (state) => ({
      paint: (painter, width, height) => paint(painter, width, height, state),
      aspect: state.seen.naturalWidth / state.seen.naturalHeight,
    }),
    code: () => ({ figure: "patches" }),
  });
  const pipeline = createPipeline(store);
  const zoom = createPatchZoom(context);
  const stage = createStagePanel(context);
  const node = el(
    "section",
    { class: "view view-patches", dataset: { look: "none" } },
    pipeline.node,
    el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "stage" },
        el("div", { class: "figure-head" }, title, menu),
        canvas.canvas,
        el("p", { class: "note" }, t("patches.grid.help")),
      ),
      el("div", { class: "side" }, zoom.node, stage.node),
    ),
  );
  let shown = null;
  let painted = "";

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const { model } = state.result;
    painter.imageSmoothingEnabled = state.seen.naturalWidth > width;
    painter.drawImage(state.seen, 0, 0, width, height);
    const [rows, columns] = model.grid;
    const gap = Math.max(1, Math.round(width / columns / 14));
    painter.fillStyle = getComputedStyle(canvas.canvas).getPropertyValue("--ground");
    for (let row = 1; row < rows; row += 1) {
      painter.fillRect(0, Math.round((row * height) / rows - gap / 2), width, gap);
    }
    for (let column = 1; column < columns; column += 1) {
      painter.fillRect(Math.round((column * width) / columns - gap / 2), 0, gap, height);
    }
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    number(painter, width, height, model, ratio);
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "patches") return;
    node.dataset.theme = state.theme; // its colours are drawn with
    const { result } = state;
    const walk = numbersOf(result, "walk");
    if (shown !== result.pass) {
      setText(title, gridTitle(result.model));
      pipeline.rebuild(result);
    }
    shown = result.pass;
    const key = [result.pass, Boolean(walk?.arrays)].join();
    if (painted !== key) pipeline.paint(state, walk);
    painted = key;
    const chosen = stagesOf(result).find(({ name }) => name === state.stage) ?? stagesOf(result)[2];
    pipeline.mark(chosen.name);
    const aspect = (state.seen.naturalWidth / state.seen.naturalHeight).toFixed(4);
    node.style.setProperty("--aspect", aspect);
    canvas.draw();
    zoom.draw(state);
    stage.draw(state, chosen, walk);
  }

  store.effect(draw);
  return { node };
}

/** @param {Model} model */
function gridTitle({ grid, patch }) {
  const count = grid[0] * grid[1];
  return t("patches.grid", { count, height: patch[0], width: patch[1] });
}

/**
 * The patches' numbers, where there is room for them.
 * @param {any} painter
 * @param {number} width
 * @param {number} height
 * @param {Model} model
 */
function number(painter, width, height, { grid: [rows, columns] }, ratio) {
  const cell = width / columns;
  if (cell / ratio < SMALLEST_NUMBERED) return;
  painter.font = `600 ${Math.min(cell * 0.36, 15 * ratio)}px system-ui, sans-serif`;
  painter.textAlign = "center";
  painter.textBaseline = "middle";
  painter.lineJoin = "round";
  painter.lineWidth = 3 * ratio;
  painter.strokeStyle = "rgb(0 0 0 / 0.65)";
  painter.fillStyle = "white";
  for (let i = 0; i < rows * columns; i += 1) {
    const x = ((i % columns) + 0.5) * cell;
    const y = (Math.floor(i / columns) + 0.5) * (height / rows);
    painter.strokeText(String(i + 1), x, y);
    painter.fillText(String(i + 1), x, y);
  }
}

/**
 * The chosen stage: its drawing at full size, what it does, and what belongs to it.
 * @param {Context} context
 */
function createStagePanel(context) {
  const { store } = context;
  const title = el("h3");
  const shape = el("code");
  const text = el("p", { class: "caption" });
  const picture = el("canvas", { class: "stage-picture", role: "img" });
  const matrix = createMatrix(store);
  const sums = createNumbers(context, "embedding-sums", t("tables.positions"));
  const says = el("p", { class: "caption" });
  const check = el("p", { class: "caption check" });
  const checkBox = el("div", {}, el("h4", {}, t("patches.check")), check);
  const filters = createFilters();
  const node = el(
    "div",
    { class: "card stage-card", "aria-live": "polite" },
    el("div", { class: "figure-head" }, title, shape),
    text,
    picture,
    matrix.node,
    says,
    sums.node,
    checkBox,
    filters.node,
  );
  let drawn = "";

  /** @param {State} state */
  function draw(state, { name, shape: size }, walk) {
    const { result } = state;
    const image = name === "picture" || name === "crop";
    const there = image || name === "cut" || Boolean(walk?.arrays);
    setText(title, t(`patches.stage.${name}`));
    setText(shape, size);
    setText(text, stageText(name, result, walk?.facts));
    picture.hidden = !image;
    checkBox.hidden = name !== "projection";
    filters.node.hidden = name !== "projection";
    sums.node.hidden = name !== "positions" || !there;
    sayCheck(check, result);
    const key = [result.pass, name, there].join();
    if (key !== drawn) {
      if (image) paintPicture(picture, state, name, 480);
      picture.setAttribute("aria-label", t(`patches.stage.${name}`));
      const found = image ? null : stageImage(name, state, walk);
      matrix.node.hidden = !found;
      if (found) matrix.show(name, found, t("patches.stage.label", { stage: t(`patches.stage.${name}`), shape: size }));
    }
    drawn = key;
    if (!matrix.node.hidden) {
      // The stage before positions has the prefix tokens' rows and no table of one patch.
      matrix.point(name === "prefix" ? queryToken(state) : zoomedToken(state));
    }
    const row = matrix.node.hidden ? "patches.stage.unread" : "patches.stage.row";
    setText(says, there ? t(row) : waiting(walk));
    says.hidden = image;
    if (name === "positions" && there) showSum(sums, state, walk);
    if (name === "projection") filters.draw(state);
  }
  return { node, draw };
}

/**
 * The chosen patch's sum, number by number.
 * @param {State} state
 */
function showSum(sums, state, walk) {
  const { model } = state.result;
  const token = zoomedToken(state);
  sums.show([tokenName(model, token)], sumRows(walk, token));
}

/**
 * That cutting and multiplying is a convolution, with the difference measured on this picture.
 * @param {any} node
 * @param {Result} result
 */
function sayCheck(node, { model, patches }) {
  if (!patches) {
    setText(node, t("tables.embedding.none"));
    return;
  }
  const gap = "\u0000";
  const [high, wide] = model.patch;
  const [before, after] = t("patches.check.text", {
    count: (model.grid[0] * model.grid[1] * model.dim).toLocaleString(),
    stride: high === wide ? high : `${high}×${wide}`,
    error: gap,
  }).split(gap);
  const error = patches.error === 0 ? "0" : patches.error.toExponential(1);
  // A line may otherwise break after the minus of 8.3e-6.
  replace(node, before, el("span", { class: "unbroken" }, error), after);
}
