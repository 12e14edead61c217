// Patches: the picture as the model reads it, cut into numbered squares, and the sum that embeds them.

import { el, replace, setText } from "../dom.js";
import { cellOf, middleToken, prefixName } from "../geometry.js";
import { createPatchCanvas } from "../patch_canvas.js";
import { queryToken } from "../store.js";
import { t } from "../words.js";

const SMALLEST_NUMBERED = 22;

export function createPatchesView({ store }) {
  const canvas = createPatchCanvas({ store, label: t("patches.canvas"), paint });
  const title = el("h3");
  const zoom = el("canvas", { class: "zoom pixelated", role: "img" });
  const zoomTitle = el("h3");
  const zoomText = el("p", { class: "caption" });
  const steps = el("ol", { class: "steps" });
  const check = el("p", { class: "caption check" });
  const node = el(
    "section",
    { class: "view view-patches" },
    el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "stage" },
        title,
        canvas.canvas,
        el("p", { class: "note" }, t("patches.grid.help")),
      ),
      el(
        "div",
        { class: "side" },
        el("div", { class: "card zoom-card" }, zoom, el("div", {}, zoomTitle, zoomText)),
        el("div", { class: "card" }, el("h3", {}, t("patches.steps")), steps),
        el("div", { class: "card" }, el("h3", {}, t("patches.check")), check),
      ),
    ),
  );
  let shown = null;

  function paint(context, width, height, state) {
    const { model } = state.result;
    context.imageSmoothingEnabled = state.seen.naturalWidth > width;
    context.drawImage(state.seen, 0, 0, width, height);
    const [rows, columns] = model.grid;
    const gap = Math.max(1, Math.round(width / columns / 14));
    context.fillStyle = getComputedStyle(canvas.canvas).getPropertyValue("--ground");
    for (let row = 1; row < rows; row += 1) {
      context.fillRect(0, Math.round((row * height) / rows - gap / 2), width, gap);
    }
    for (let column = 1; column < columns; column += 1) {
      context.fillRect(Math.round((column * width) / columns - gap / 2), 0, gap, height);
    }
    number(context, width, height, model);
  }

  function number(context, width, height, { grid: [rows, columns] }) {
    const ratio = width / canvas.canvas.clientWidth;
    const cell = width / columns;
    if (cell / ratio < SMALLEST_NUMBERED) return;
    context.font = `600 ${Math.min(cell * 0.36, 15 * ratio)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "rgb(0 0 0 / 0.65)";
    context.fillStyle = "white";
    for (let i = 0; i < rows * columns; i += 1) {
      const x = ((i % columns) + 0.5) * cell;
      const y = (Math.floor(i / columns) + 0.5) * (height / rows);
      context.strokeText(String(i + 1), x, y);
      context.fillText(String(i + 1), x, y);
    }
  }

  function rebuild({ model, patches, positions }) {
    const [high, wide] = model.patch;
    const count = model.grid[0] * model.grid[1];
    const flat = model.channels * high * wide;
    setText(title, t("patches.grid", { count, height: high, width: wide }));
    const names = model.prefix.map(prefixName);
    const lines = [
      [`${model.channels} × ${model.image[0]} × ${model.image[1]}`, t("patches.step.picture")],
      [`${count} × ${flat}`, t("patches.step.unfold")],
      [`${count} × ${model.dim}`, t("patches.step.embed", { from: flat, to: model.dim })],
    ];
    if (names.length) {
      const step = t("patches.step.prefix", { names: names.join(", ") });
      lines.push([`${count + names.length} × ${model.dim}`, step]);
    }
    if (positions.url) lines.push([lines.at(-1)[0], t("patches.step.positions")]);
    replace(
      steps,
      lines.map(([shape, text]) => el("li", {}, el("code", {}, shape), el("span", {}, text))),
    );
    if (!patches) {
      setText(check, t("patches.check.none"));
      return;
    }
    const gap = "\u0000";
    const [before, after] = t("patches.check.text", {
      count: (count * model.dim).toLocaleString("en"),
      stride: high === wide ? high : `${high}×${wide}`,
      error: gap,
    }).split(gap);
    const error = patches.error === 0 ? "0" : patches.error.toExponential(1);
    // A line may otherwise break after the minus of 8.3e-6.
    replace(check, before, el("span", { class: "unbroken" }, error), after);
  }

  function drawZoom(state) {
    const { model } = state.result;
    const query = queryToken(state);
    const token = cellOf(model, query) ? query : middleToken(model);
    const [row, column] = cellOf(model, token);
    const [wide, high] = [
      state.seen.naturalWidth / model.grid[1],
      state.seen.naturalHeight / model.grid[0],
    ];
    zoom.width = Math.round(wide);
    zoom.height = Math.round(high);
    const context = zoom.getContext("2d");
    context.drawImage(
      state.seen,
      column * wide,
      row * high,
      wide,
      high,
      0,
      0,
      zoom.width,
      zoom.height,
    );
    const number = token - model.prefix.length + 1;
    setText(zoomTitle, t("patches.one", { number }));
    const values = {
      row: row + 1,
      column: column + 1,
      channels: model.channels,
      count: model.channels * model.patch[0] * model.patch[1],
      dim: model.dim,
      token,
    };
    setText(zoomText, t("patches.one.where", values));
    zoom.setAttribute("aria-label", t("patches.one", { number }));
  }

  function draw(state) {
    if (!state.result || state.tab !== "patches") return;
    if (shown !== state.result) rebuild(state.result);
    shown = state.result;
    node.style.setProperty(
      "--aspect",
      (state.seen.naturalWidth / state.seen.naturalHeight).toFixed(4),
    );
    canvas.draw();
    drawZoom(state);
  }

  store.on(["result", "seen", "hover", "pinned", "theme"], draw);
  return { node, draw: () => draw(store.get()) };
}
