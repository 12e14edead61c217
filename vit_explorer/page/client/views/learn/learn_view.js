// Learn: a walk in ten steps through the reader's own picture and model, with its real numbers.

import { el, replace, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { hint } from "../../base/hints.js";
import { t } from "../../base/words.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { zoomedToken } from "../../controls/patch_zoom.js";
import { manner } from "../../maps/colours.js";
import { tokenName } from "../../maps/geometry.js";
import { cropAspect } from "../../maps/picture.js";
import { overlay } from "../../maps/pixels.js";
import { numbersOf } from "../../server/packed.js";
import { STEPS } from "./steps.js";

const NAMES = Object.keys(STEPS);
const PIXEL_STEPS = 3;

/** @param {Context} context */
export function createLearnView(context) {
  const { store, signal } = context;
  const canvas = createPatchCanvas({
    store,
    label: t("learn.canvas"),
    paint,
    // The first steps are about a patch's pixels, which a prefix token has none of.
    shown: (state, token) => (state.step < PIXEL_STEPS ? zoomedToken(state, token) : token),
  });
  const chips = el("div", { class: "prefixes" });
  const guide = createGuide(store);
  const figures = NAMES.map((name) => STEPS[name].create(context));
  const places = figures.map(({ node }, at) =>
    el("div", { class: "learn-figure", dataset: { step: NAMES[at] } }, node),
  );
  const asides = el(
    "div",
    { class: "learn-asides" },
    figures.map(({ aside }) => aside),
  );
  const menu = createFigureMenu(context, "learn", {
    title: (state) => t(`learn.${NAMES[state.step]}.title`),
    targeted: (state) => Boolean(mapOf(state)?.class_specific),
    detail: (state) => STEPS[NAMES[state.step]].detail?.(state) ?? "",
    figure: (state) => {
      const map = mapOf(state);
      const bar = map && { table: manner(state, map).table, limits: map.limits, format: short };
      return {
        paint: (drawing, width, height) => paint(drawing, width, height, state),
        aspect: cropAspect(state.result),
        ...(map ? { bar } : {}),
      };
    },
    tabled: (state) => Boolean(mapOf(state)),
    // What no token may attend to has no colour, and stands in the file as it is.
    table: (state) => {
      const { exact, values, name } = mapOf(state);
      return gridTable(exact ?? values, state.result.model.grid, name);
    },
    code: (state) => (mapOf(state) ? (STEPS[NAMES[state.step]].code?.(state) ?? null) : null),
  });
  const picture = el(
    "div",
    { class: "learn-picture" },
    canvas.canvas,
    el(
      "div",
      { class: "learn-pick" },
      chips,
      el("div", { class: "learn-marks" }, el("p", { class: "note" }, hint("learn.picture.help", "learn.picture.help.touch")), menu),
      asides,
    ),
  );
  const node = el(
    "section",
    { class: "view view-learn", onkeydown: turn },
    guide.node,
    el("div", { class: "learn-stage" }, picture, places),
  );
  window.addEventListener(
    "keydown",
    (event) => {
      if (store.get().tab === "learn" && event.target === document.body) turn(event);
    },
    { signal },
  );
  let chipsOf = "";

  function turn(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const typing = event.target.closest?.("input, select, [role=application], .numbers-box");
    if (!way || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    goTo(store, store.get().step + way);
  }

  /** @param {State} state */
  const mapOf = (state) => STEPS[NAMES[state.step]].map?.(store, state) ?? null;

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const map = mapOf(state);
    const base = state.image.pixels(width, height);
    const { grid } = state.result.model;
    if (!map) {
      painter.putImageData(base, 0, 0);
      if (state.step < PIXEL_STEPS) drawLines(painter, width, height, grid);
      return;
    }
    painter.putImageData(overlay(base, map.values, grid, manner(state, map)), 0, 0);
  }

  /** @param {State} state */
  function showChips(state) {
    const { model } = state.result;
    const key = `${model.prefix}`;
    if (key !== chipsOf)
      replace(
        chips,
        model.prefix.map((_, token) =>
          el(
            "button",
            {
              type: "button",
              class: "chip",
              onclick: () => store.set({ pinned: token, hover: null }),
            },
            tokenName(model, token),
          ),
        ),
      );
    chipsOf = key;
    [...chips.children].forEach((chip, token) =>
      chip.setAttribute("aria-pressed", String(token === state.pinned)),
    );
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "learn") return;
    node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
    guide.show(state);
    showChips(state);
    chips.hidden = state.step < PIXEL_STEPS;
    places.forEach((place, at) => {
      place.hidden = at !== state.step;
      if (figures[at].aside) figures[at].aside.hidden = at !== state.step;
    });
    figures[state.step].draw(state);
    canvas.draw();
  }

  store.effect(draw);
  return { node };
}

/** @param {Store} store */
function goTo(store, step) {
  if (step >= 0 && step < NAMES.length) store.set({ step, hover: null });
}

/**
 * The faint lines along which the picture is cut.
 * @param {any} painter
 * @param {number} width
 * @param {number} height
 * @param {Pair} grid
 */
function drawLines(painter, width, height, [rows, columns]) {
  painter.strokeStyle = "rgb(255 255 255 / 0.55)";
  painter.lineWidth = Math.max(1, width / columns / 24);
  painter.beginPath();
  for (let at = 1; at < rows; at += 1) {
    painter.moveTo(0, (at * height) / rows);
    painter.lineTo(width, (at * height) / rows);
  }
  for (let at = 1; at < columns; at += 1) {
    painter.moveTo((at * width) / columns, 0);
    painter.lineTo((at * width) / columns, height);
  }
  painter.stroke();
}

/**
 * What a step says, its formula, what to try, and the way to the next one.
 * @param {Store} store
 */
function createGuide(store) {
  const dots = NAMES.map((name, step) =>
    el("button", {
      type: "button",
      "aria-label": t("learn.dot", { number: step + 1, title: t(`learn.${name}.title`) }),
      title: t(`learn.${name}.title`),
      onclick: () => goTo(store, step),
    }),
  );
  const count = el("p", { class: "eyebrow" });
  const title = el("h2");
  const head = el("div", { "aria-live": "polite" }, count, title);
  const text = el("p", { class: "learn-text" });
  const formula = el("div", { class: "learn-formula" });
  const trying = el("p");
  const open = el("button", {
    type: "button",
    onclick: () => {
      const state = store.get();
      const { tab, opens } = STEPS[NAMES[state.step]];
      store.set({ tab, hover: null, ...opens?.(state) });
    },
  });
  const previous = el(
    "button",
    { type: "button", onclick: () => goTo(store, store.get().step - 1) },
    t("learn.previous"),
  );
  const next = el(
    "button",
    {
      type: "button",
      class: "primary",
      onclick: () => {
        const { step } = store.get();
        goTo(store, step === NAMES.length - 1 ? 0 : step + 1);
      },
    },
  );
  const node = el(
    "div",
    { class: "learn-guide" },
    el("nav", { class: "learn-dots", "aria-label": t("learn.steps") }, dots),
    head,
    el("div", { class: "learn-words" }, text, formula,
      el("div", { class: "learn-try" }, el("h3", {}, t("learn.try")), trying)),
    el("div", { class: "learn-turn" }, previous, next, open),
  );
  let shown = "";

  /** @param {State} state */
  function show(state) {
    const name = NAMES[state.step];
    const step = STEPS[name];
    const { model } = state.result;
    const facts = (step.builds && numbersOf(state.result, "walk")?.facts) || null;
    const known = Boolean(facts) || !step.builds;
    dots.forEach((dot, at) => {
      if (at === state.step) dot.setAttribute("aria-current", "step");
      else dot.removeAttribute("aria-current");
    });
    setText(count, t("learn.count", { number: state.step + 1, count: NAMES.length }));
    setText(title, t(`learn.${name}.title`));
    const kinds = step.kinds?.(model, facts) ?? {};
    setText(text, t(`learn.${name}.text${kinds.text ?? ""}`, step.values(state, facts)).trim());
    setText(trying, t(`learn.${name}.try${kinds.try ?? ""}`));
    setText(open, t("learn.open", { view: t(`tab.${step.tab}`) }));
    previous.disabled = state.step === 0;
    setText(next, t(state.step === NAMES.length - 1 ? "learn.again" : "learn.next"));
    const key = [name, model.key, known].join();
    if (key !== shown) replace(formula, known ? step.formula(model, facts) : null);
    shown = key;
  }
  return { node, show };
}
