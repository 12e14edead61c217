// One side of the comparison: what was explained, its predictions, and the chosen map.

import { nameOf } from "../../base/class_names.js";
import { el, replace, setText } from "../../base/dom.js";
import { percent, short } from "../../base/format.js";
import { lacks, whyNot } from "../../base/lacks.js";
import { targetName, told } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { barOf } from "../../charts/share_bar.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { beginning } from "../../controls/number_tables.js";
import { createPatchCanvas, markCell } from "../../controls/patch_canvas.js";
import { zoomedToken } from "../../controls/patch_zoom.js";
import { COSINES, describeAlike, POSITION_COLOURS, positionsOf } from "../../controls/position_maps.js";
import { manner, tableFor } from "../../maps/colours.js";
import { cellOf, extremePatch, tokenName } from "../../maps/geometry.js";
import { componentImage, componentTable, layPatches } from "../../maps/component_colours.js";
import { cropAspect } from "../../maps/picture.js";
import { maximum, overlay } from "../../maps/pixels.js";
import { attentionCode, mapCode } from "../../state/code_orders.js";
import { fusionOf } from "../../state/fusion.js";
import { queryToken, withChanges } from "../../state/store.js";
import { classesOf, ofClasses } from "./compare_class.js";
import { describePatches, nearestToken, ofPatches, patchCode, patchMap, sameModel } from "./compare_patches.js";
import { timesEven } from "./compare_scale.js";

/**
 * The chosen map of a side: { values, limits, signed, unit, name }, or null where there is none yet.
 * `root` is the page's own state, whose result is the first.
 * @param {State} state
 * @param {State} root
 * @returns {import("./compare_scale.js").SideMap | null}
 */
export function mapOf(state, root) {
  const { result, comparePart } = state;
  if (!result) return null;
  if (ofPatches(comparePart)) return lacks(result, "tokens") ? null : patchMap(state, root);
  const { model, maps, positions, attention } = result;
  if (comparePart === "positions") {
    if (!positions.values) return null;
    return { values: positionsOf(state).values, limits: COSINES, signed: false, unit: "cosine", name: "cosine" };
  }
  if (comparePart === "attention") {
    if (lacks(result, "attention")) return null;
    const { layer, head } = state;
    const map = attention.data.map({ layer, head, query: queryToken(state), direction: "from" });
    if (!map) return null;
    const values = map.subarray(model.prefix.length);
    return { values, limits: [0, maximum(values) || 1], signed: false, unit: "share", name: "attention" };
  }
  const map = maps.find(({ name }) => name === state.compareMethod);
  if (!map) return null;
  // A share is a share in any model; other units count in the model's own logits.
  const unit = map.unit === "share" ? map.unit : `${map.unit} ${model.key}`;
  return { ...map, unit };
}

/**
 * @param {Context} context
 * @param {Store} store
 * @param {{ label: string, name: string }} side
 */
export function createSide(context, store, { label, name }) {
  /** @param {State} state */
  const shownIn = (state) => mapOf(state, context.store.get());
  const title = el("h3");
  const place = el("p", { class: "note compare-place" });
  const predictions = el("ol", { class: "compare-predictions" });
  const canvas = createPatchCanvas({ store, label, paint });
  const bar = createColourBar(write);
  const says = el("p", { class: "says", "aria-live": "polite" });
  const file = `compare-${name}`;
  const menu = createFigureMenu({ ...context, store }, file, {
    title: titleOf,
    targeted: (state) => Boolean(shownIn(state)?.class_specific),
    detail: (state) => (differs ? t("compare.difference.of", classesOf(state)) : describePlace(state)),
    figure: (state) => {
      const map = shownIn(state);
      return {
        paint: (drawing, width, height) => {
          paint(drawing, width, height, state);
          const token = state.comparePart === "positions" || ofPatches(state.comparePart) ? zoomedToken(state) : state.pinned;
          markCell(drawing, [0, 0, width, height], state.result.model, token, width / 400);
        },
        aspect: cropAspect(state.result),
        ...(map.components ? {} : { bar: { table: tableOf(state, map), limits: limits ?? map.limits, format: write } }),
      };
    },
    table: (state) => {
      const [map, { grid }] = [shownIn(state), state.result.model];
      return map.components ? componentTable(map.components.scores, grid) : gridTable(map.values, grid, map.name);
    },
    // What two maps differ in has no one command.
    code: (state) => (differs ? null : codeOf(state, limits, context.store.get())),
  });
  const missing = el("p", { class: "compare-missing" });
  const picture = el("div", { class: "compare-picture" }, canvas.canvas, missing);
  const node = el(
    "section",
    { class: "compare-side", dataset: { side: name }, "aria-label": label },
    el("div", { class: "compare-name" }, title, place),
    predictions,
    picture,
    el("div", { class: "under-stage" }, bar.node, menu),
    says,
  );
  const differs = name === "difference";
  let limits = null;
  let listed = null;

  /** @param {State} state */
  function headingOf(state) {
    if (differs) return t("compare.difference.of", classesOf(state));
    const { model, target } = state.result;
    return ofClasses(state) ? targetName(target) : `${model.name} · ${state.result.picture.name}`;
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(painter, width, height, state) {
    const base = state.image.pixels(width, height);
    const map = shownIn(state);
    if (!map) {
      painter.putImageData(base, 0, 0);
      return;
    }
    if (map.components) {
      painter.putImageData(base, 0, 0);
      layPatches(painter, componentImage(map.components, state.result.model.grid), width, height, state);
      return;
    }
    const how = { ...manner(state, { ...map, limits: limits ?? map.limits }), table: tableOf(state, map) };
    painter.putImageData(overlay(base, map.values, state.result.model.grid, how), 0, 0);
    if (!ofPatches(state.comparePart)) return;
    const nearest = nearestToken(state.result, context.store.get(), map);
    markCell(painter, [0, 0, width, height], state.result.model, nearest, width / 400, true);
  }

  /** A number of the scale: on one that both sides share, a share as a multiple of an even one. */
  function write(value) {
    const map = shownIn(store.get());
    const times = limits && map ? timesEven(map, value) : null;
    return times === null ? short(value) : t("compare.times", { times: short(times) });
  }

  /** @param {State} state */
  function tableOf({ comparePart, colormap }, map) {
    return comparePart === "positions" ? tableFor(POSITION_COLOURS) : tableFor(colormap, map.signed);
  }

  /** Draw with the limits that both sides share, or with the map's own. */
  function draw(shared) {
    const state = store.get();
    limits = shared;
    const map = shownIn(state);
    const { result } = state;
    node.style.setProperty("--aspect", cropAspect(result).toFixed(4));
    setText(title, headingOf(state));
    title.title = title.textContent;
    setText(place, whereOf(state));
    if (listed !== result) list(result);
    listed = result;
    canvas.draw();
    missing.hidden = Boolean(map);
    setText(missing, map ? "" : differs ? t("compare.none.difference") : whyMissing(state, context.store.get()));
    menu.hidden = !map;
    bar.node.style.visibility = map && !map.components ? "visible" : "hidden";
    if (map) bar.show(tableOf(state, map), limits ?? map.limits, valueAt(state, map));
    predictions.hidden = ofClasses(state); // the same in all, and beside the picture
    setText(says, map ? (differs ? describeDifference : describe)(state, map, context.store.get()) : "");
  }

  /** @param {Result} result */
  function list({ predictions: found }) {
    replace(
      predictions,
      found.map((each) =>
        el(
          "li",
          {},
          el("span", { class: "label", title: nameOf(each.label) }, nameOf(each.label)),
          el("span", { class: "share" }, told(each)),
          barOf(each),
        ),
      ),
      found.length ? null : el("li", { class: "note" }, t("predictions.none")),
    );
  }
  return { node, draw };
}

/**
 * What is compared: a method by its name, attention, or positions.
 * @param {State} state
 */
const titleOf = ({ comparePart, compareMethod }) =>
  comparePart === "map" ? t(`method.${compareMethod}.title`) : t(`compare.part.${comparePart}`);

/** @param {State} state */
function describePlace(state) {
  const { comparePart, result, layer } = state;
  if (comparePart === "map") return "";
  if (comparePart === "positions") return tokenName(result.model, zoomedToken(state));
  if (ofPatches(comparePart)) return t("heads.layer.one", { layer: layer + 1 });
  const query = tokenName(result.model, state.pinned);
  const fusion = fusionOf(withChanges(state, { rolled: false }));
  const which = typeof fusion === "number" ? fusion + 1 : t(`heads.${fusion}`);
  return t("figure.attention", { layer: layer + 1, head: which, query, direction: t("heads.from") });
}

/**
 * Which layer of how many a side shows, and which of its heads; what has no layer says none.
 * @param {State} state
 */
function whereOf(state) {
  const { comparePart, result, layer } = state;
  const { depth } = result.model;
  if (comparePart === "positions" || lacks(result, "attention")) return "";
  if (comparePart === "map") {
    const own = result.maps.find(({ name }) => name === state.compareMethod)?.layer;
    return own === undefined ? "" : t("compare.layer", { layer: own + 1, depth });
  }
  if (ofPatches(comparePart)) return t("compare.layer", { layer: layer + 1, depth });
  const fusion = fusionOf(withChanges(state, { rolled: false }));
  const head = typeof fusion === "number" ? t("heads.one", { head: fusion + 1 }) : t(`heads.all.${fusion}`);
  return t("compare.layer.head", { layer: layer + 1, depth, head });
}

/**
 * @param {State} state
 * @param {State} root
 */
function codeOf(state, limits, root) {
  const { comparePart, result } = state;
  if (ofPatches(comparePart)) return patchCode(state, root);
  if (comparePart === "attention")
    return attentionCode(withChanges(state, { rolled: false, direction: "from", mass: 1 }));
  if (comparePart === "positions")
    return { figure: "positions", place: cellOf(result.model, zoomedToken(state)) };
  const map = mapOf(state, root);
  return mapCode(map, withChanges(state, { whole: false, shared: Boolean(limits) }), limits);
}

/**
 * @param {State} state
 * @param {State} root
 */
function whyMissing({ comparePart, result }, root) {
  if (ofPatches(comparePart)) {
    if (lacks(result, "tokens")) return whyNot(result.model, "tokens");
    return t(sameModel(root) ? "tables.waiting" : "compare.none.models");
  }
  const need = comparePart === "map" ? "" : comparePart;
  if (need && lacks(result, need)) return whyNot(result.model, need);
  if (comparePart === "positions") return t("compare.none.positions");
  if (comparePart === "attention" && result.attention.whole)
    return t(result.attention.data.failed ? "heads.failed" : "heads.waiting");
  return t(comparePart === "attention" ? "heads.waiting" : "compare.none.map");
}

/** @param {State} state */
function valueAt(state, map) {
  const cell = cellOf(state.result.model, queryToken(state));
  return cell ? map.values[cell[0] * state.result.model.grid[1] + cell[1]] : null;
}

/**
 * Where the map is strongest, and its value at the chosen patch.
 * @param {State} state
 * @param {State} root
 */
function describe(state, map, root) {
  const { model } = state.result;
  if (ofPatches(state.comparePart)) return describePatches(state, root, map);
  if (state.comparePart === "positions") return describeAlike(model, zoomedToken(state), map.values);
  const best = extremePatch(map.values, 0);
  const [row, column] = cellOf(model, best + model.prefix.length).map((at) => at + 1);
  if (state.comparePart === "attention") {
    const query = beginning(model, queryToken(state));
    const top = percent(map.values[best]);
    return t("heads.says.from", { query, row, column, top, prefix: "" }).trim();
  }
  const token = tokenName(model, queryToken(state));
  const here = valueAt(state, map);
  const said = { row, column, top: short(map.values[best]), token, value: here === null ? "" : short(here) };
  return t(here === null ? "compare.says" : "compare.says.here", said);
}

/**
 * Where the maps of two classes differ most, either way.
 * @param {State} state
 */
function describeDifference(state, { values }) {
  const { model } = state.result;
  const places = [extremePatch(values, 0), extremePatch(values.map((value) => -value), 0)];
  const [here, there] = places.map((at) => cellOf(model, at + model.prefix.length).map((index) => index + 1));
  return t("compare.says.difference", {
    ...classesOf(state),
    row: here[0], column: here[1], top: short(values[places[0]]),
    row2: there[0], column2: there[1], low: short(values[places[1]]),
  });
}
