// The training film: a scrubber over its epochs, and what the model was at the chosen one.

import { el, keepSize, replace, setText } from "../../base/dom.js";
import { fixed, percent, short } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createCurves } from "../../charts/curves.js";
import { byLayer, createHeadPlot, headTable } from "../../charts/distance.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { canvasFigure, createFigureMenu } from "../../controls/figure_menu.js";
import { COSINES, drawPositionMaps, POSITION_COLOURS, positionBar, similarityTable } from "../../controls/position_maps.js";
import { tableFor } from "../../maps/colours.js";
import { rgbImage } from "../../state/film.js";
import { createProbe } from "./probe.js";

const FILTER_COLUMNS = 7;
const PLOT_HEIGHT = 150;

/** @param {Context} context */
export function createFilmPlayer(context) {
  const { store } = context;
  const scrubber = createScrubber(store);
  /** @param {number} epoch */
  const onPick = (epoch) => store.set(atEpoch(store.get().film, epoch));
  const curves = createCurves({ onPick, context });
  const positions = createPositions(context);
  const filters = createFilters(context);
  const plot = createHeadPlot({ height: PLOT_HEIGHT });
  const plotText = el("p", { class: "note" });
  const health = el("p", { class: "note film-health" });
  const probes = el("div", { class: "probes", role: "group", "aria-label": t("training.film.probes") });
  const bar = createColourBar(short);
  const menu = createFigureMenu(context, "film-distance", {
    title: () => t("training.film.distance"),
    detail: (state) => `${state.film.names[state.probe]} · ${epochOf(state)}`,
    figure: () => ({ svg: plot.node }),
    table: ({ film, frame, probe }) =>
      headTable("distance", film.at("distance", frame, probe), film.shapes.distance[3]),
  });
  const plotBox = el(
    "div",
    { class: "distance film-distance" },
    el("h3", {}, el("span", {}, t("training.film.distance")), menu),
    plot.node,
    plotText,
    health,
  );
  const node = el(
    "div",
    { class: "film" },
    scrubber.node,
    el(
      "div",
      { class: "film-model" },
      el("div", { class: "film-curves" }, curves.node, el("p", { class: "note" }, t("training.film.curves.help"))),
      positions.node, filters.node,
      plotBox,
    ),
    el(
      "div",
      { class: "film-pictures" },
      el("h3", {}, t("training.film.pictures"), " ", el("small", {}, t("training.film.pictures.help"))),
      bar.node,
    ),
    probes,
  );
  let cards = [];
  let built = null;
  const size = keepSize(plotBox, () => store.get().film && draw(store.get()));

  /** @param {import("../../state/film.js").Film} film */
  function rebuild(film) {
    cards = film.names.map((_, index) => createProbe({ store, film, index }));
    replace(
      probes,
      cards.map((card) => card.node),
    );
    built = film;
  }

  /** @param {State} state */
  function draw(state) {
    const { film, frame, probe } = state;
    if (film !== built) rebuild(film);
    scrubber.draw(state);
    const { curves: lines, lastEpoch: last, measured } = film;
    curves.draw({ curves: lines, last, at: film.epochs[frame], measured });
    positions.draw(film, frame);
    filters.draw(film, frame);
    for (const card of cards) card.draw(state);
    bar.show(tableFor(state.colormap), film.rolloutLimits);
    setText(plotText, t("training.film.distance.help", { name: film.names[probe] }));
    const counts = film.health(frame, probe);
    setText(health, counts ? t("training.film.health", counts) : "");
    const [, , depth, heads] = film.shapes.distance;
    const layers = byLayer(film.at("distance", frame, probe), heads);
    const [, high, wide] = film.shapes.probes;
    const { width } = size;
    if (width) plot.paint({ width, layers, depth, reach: Math.hypot(high, wide) / 2 });
  }
  return { node, draw };
}

/** @param {State} state */
const epochOf = ({ film, frame }) => t("training.film.epoch.one", { epoch: film.epochs[frame] });

/**
 * The frame recorded at, or last before, an epoch.
 * @param {import("../../state/film.js").Film} film
 * @param {number} epoch
 */
export function atEpoch(film, epoch) {
  const later = film.epochs.findIndex((one) => one > epoch);
  return { frame: later < 0 ? film.frames - 1 : Math.max(0, later - 1), playing: false };
}

/** @param {Store} store */
function createScrubber(store) {
  const play = el("button", { type: "button", class: "primary play", onclick: toggle });
  const range = el("input", {
    type: "range",
    id: "vx-frame",
    min: "0",
    step: "1",
    "aria-label": t("training.film.epoch"),
    oninput: () => store.set({ frame: Number(range.value), playing: false }),
  });
  // The scrubber's own value says the same to a screen reader.
  const where = el("output", { for: "vx-frame", class: "film-where", "aria-live": "off" });
  const node = el("div", { class: "toolbar film-bar" }, play, range, where);

  function toggle() {
    const { film, frame, playing } = store.get();
    const ended = frame === film.frames - 1;
    store.set({ playing: !playing, frame: !playing && ended ? 0 : frame });
  }

  /** @param {State} state */
  function draw({ film, frame, playing }) {
    range.max = String(film.frames - 1);
    range.value = String(frame);
    setText(play, t(playing ? "training.film.pause" : "training.film.play"));
    const epoch = film.epochs[frame];
    const accuracy = film.curves.test_accuracy[epoch - 1];
    const measured = t(`curves.${film.measured}`);
    const text = t(whereKey(epoch, accuracy), {
      epoch, last: film.lastEpoch, measured, accuracy: percent(accuracy ?? 0),
    });
    setText(where, text);
    range.setAttribute("aria-valuetext", text);
  }
  return { node, draw };
}

/**
 * A training of someone's own may say no accuracy.
 * @param {number} epoch
 * @param {number | null | undefined} accuracy
 */
function whereKey(epoch, accuracy) {
  if (epoch === 0) return "training.film.start";
  return accuracy === null || accuracy === undefined ? "training.film.at" : "training.film.where";
}

/** A drawing of the film, by the key of its name. */
const filmCanvas = (key, name) => el("canvas", { class: name, role: "img", "aria-label": t(key) });

/** What the film shows beside its curves: a name, the menu of its figure, and what is drawn. */
const filmPart = (key, menu, ...drawn) =>
  el("div", { class: "film-part" }, el("h3", {}, el("span", {}, t(key)), menu), ...drawn);

/** @param {Context} context */
function createPositions(context) {
  const canvas = filmCanvas("training.film.positions", "film-positions");
  const bar = createColourBar((value) => fixed(value, 0));
  const menu = createFigureMenu(context, "film-positions", {
    title: () => t("training.film.positions"),
    detail: epochOf,
    figure: () => ({ ...canvasFigure(canvas), bar: positionBar() }),
    table: ({ film, frame }) =>
      similarityTable(film.at("similarity", frame), film.grid),
  });
  const note = el("p", { class: "note" });
  const node = filmPart("training.film.positions", menu, canvas, bar.node, note);

  /**
   * @param {import("../../state/film.js").Film} film
   * @param {number} frame
   */
  function draw(film, frame) {
    const there = "similarity" in film.parts;
    canvas.hidden = menu.hidden = !there;
    bar.node.hidden = !there;
    setText(note, t(there ? "training.film.positions.help" : "training.film.positions.none"));
    if (!there) return;
    canvas.style.setProperty("--aspect", String(film.grid[1] / film.grid[0]));
    drawPositionMaps(canvas, film.at("similarity", frame), film.grid, COSINES);
    bar.show(tableFor(POSITION_COLOURS), [-1, 1]);
  }
  return { node, draw };
}

/** @param {Context} context */
function createFilters(context) {
  const canvas = filmCanvas("training.film.filters", "film-filters pixelated");
  const menu = createFigureMenu(context, "film-filters", {
    title: () => t("training.film.filters"),
    detail: epochOf,
    figure: () => canvasFigure(canvas),
  });
  const note = el("p", { class: "note" });
  const node = filmPart("training.film.filters", menu, canvas, note);

  /**
   * @param {import("../../state/film.js").Film} film
   * @param {number} frame
   */
  function draw(film, frame) {
    const there = "filters" in film.parts;
    canvas.hidden = menu.hidden = !there;
    setText(note, t(there ? "training.film.filters.help" : "training.film.filters.none"));
    if (!there) return;
    const [, count, high, wide] = film.shapes.filters;
    const rows = Math.ceil(count / FILTER_COLUMNS);
    canvas.width = FILTER_COLUMNS * (wide + 1) - 1;
    canvas.height = rows * (high + 1) - 1;
    canvas.style.setProperty("--aspect", (canvas.width / canvas.height).toFixed(4));
    const painter = canvas.getContext("2d");
    for (let index = 0; index < count; index += 1) {
      const image = rgbImage(film.at("filters", frame, index), wide, high);
      const [column, row] = [index % FILTER_COLUMNS, Math.floor(index / FILTER_COLUMNS)];
      painter.putImageData(image, column * (wide + 1), row * (high + 1));
    }
  }
  return { node, draw };
}
