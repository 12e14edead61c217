// One map over the picture, with its scale, what it is worth, and what to beware of.

import { el, placeUnder, setText } from "../../base/dom.js";
import { short } from "../../base/format.js";
import { twinOf } from "../../base/outputs.js";
import { said, sentences, t } from "../../base/words.js";
import { createColourBar } from "../../controls/colour_bar.js";
import { createFigureMenu, gridTable } from "../../controls/figure_menu.js";
import { createPatchCanvas } from "../../controls/patch_canvas.js";
import { describeMap } from "../../maps/alt_text.js";
import { manner, tableFor } from "../../maps/colours.js";
import { valueAt } from "../../maps/geometry.js";
import { cropAspect, cropIn } from "../../maps/picture.js";
import { overlay } from "../../maps/pixels.js";
import { mapTitle, shownMaps } from "../../state/chosen_maps.js";
import { mapCode } from "../../state/code_orders.js";
import { queryToken } from "../../state/store.js";
import { createStrongest } from "./strongest.js";
import { createTrustLine } from "./trust_line.js";

/**
 * Where the patch grid lies on a card's canvas.
 * @param {State} state
 * @param {number} width
 * @param {number} height
 */
export function mapRegion(state, width, height) {
  return state.whole ? cropIn(state.result, width, height) : [0, 0, width, height];
}

/**
 * Width over height of what a card shows.
 * @param {State} state
 */
export function mapAspect({ whole, result }) {
  return whole ? result.picture.width / result.picture.height : cropAspect(result);
}

/** The limits of all maps of one unit together, so that equal colours are equal values. */
function sharedLimits(maps, unit) {
  const alike = maps.filter((map) => map.unit === unit);
  return [
    Math.min(...alike.map((map) => map.limits[0])),
    Math.max(...alike.map((map) => map.limits[1])),
  ];
}

/** What to beware of, and what the map's own numbers say of it. */
const caveatOf = (map) => sentences(t(`method.${map.name}.caveat`), said(map.note));

/** @param {Context} context */
export function createMapCard(context, id, map) {
  const { store, setup } = context;
  const { model } = store.get().result;
  const title = mapTitle(id);
  const label = describeMap(title, map.values, map.grid, map.signed);
  const bar = createColourBar(short);
  const here = el("span", { class: "pill here", hidden: true });
  const canvas = createPatchCanvas({ store, label, paint, region: mapRegion, keyboard: false });
  const empty = map.values.every((value) => value === 0);
  const same = model.classes && !map.class_specific ? t(`explain.noClass${twinOf(model)}`) : "";
  const remark = empty ? t("explain.zero") : same;
  const trust = createTrustLine(context, map);
  const strongest = createStrongest(context, map);
  const method = setup.methods.find(({ name }) => name === map.name);
  const { caveat, button } = createCaveat(map, title, placeOf(method, setup));
  const menu = createFigureMenu(context, id, {
    targeted: () => map.class_specific,
    title: () => title,
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: mapAspect(state),
      bar: { table: tableFor(state.colormap, map.signed), limits: limits(state), format: short },
    }),
    table: () => gridTable(map.values, map.grid, map.name),
    code: (state) => mapCode(map, state, limits(state)),
  });
  const node = el(
    "figure",
    { class: "card", dataset: { method: map.name, id } },
    el(
      "div",
      { class: "card-picture" },
      canvas.canvas,
      remark ? el("span", { class: "pill remark" }, remark) : null,
      here,
      caveat,
    ),
    el(
      "figcaption",
      {},
      el("h3", {}, el("span", {}, el("span", { class: "heading" }, title), " ", method?.taught ? taughtMark() : null), button, menu),
      trust.node, bar.node, strongest.node,
    ),
  );

  /** @param {State} state */
  function limits(state) {
    return state.shared ? sharedLimits(shownMaps(state, setup), map.unit) : map.limits;
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {State} state
   */
  function paint(target, width, height, state) {
    const how = manner(state, {
      signed: map.signed,
      limits: limits(state),
      region: state.whole ? mapRegion(state, width, height) : undefined,
    });
    const base = state.image.pixels(width, height, state.whole);
    target.putImageData(overlay(base, map.values, map.grid, how), 0, 0);
  }

  /** @param {State} state */
  function draw(state) {
    canvas.draw();
    const value = valueAt(map, model, queryToken(state));
    const [low, high] = limits(state);
    const others = shownMaps(state, setup).filter(({ unit }) => unit === map.unit);
    const ends = empty && (!state.shared || others.length === 1) ? [0, 0] : [low, high];
    bar.show(tableFor(state.colormap, map.signed), ends, value);
    here.hidden = value === null;
    setText(here, value === null ? "" : short(value));
    trust.draw(state);
    strongest.draw(state);
  }
  return { node, draw, focus: () => button.focus() };
}

/** A mark on what people learn first, which is shown for that and not for what it is worth. */
const taughtMark = () =>
  el("span", { class: "taught", title: t("explain.taught.title") }, t("explain.taught"));

/** Where a method stands by what was measured of it, in words. */
function placeOf(method, setup) {
  if (!method?.place) return t("explain.place.none");
  const all = setup.methods.filter(({ place }) => place).length;
  return t("explain.place", { place: method.place, all });
}

function createCaveat(map, title, place) {
  const caveat = el(
    "div",
    { class: "limits", popover: "auto", id: `vx-caveat-${map.name}` },
    el("p", {}, t(`method.${map.name}.summary`)),
    el("p", {}, caveatOf(map)),
    el("p", {}, place),
    el("p", { class: "note" }, map.source),
  );
  const button = el(
    "button",
    {
      type: "button",
      class: "limits-button",
      "aria-label": t("explain.caveat", { title }),
      onclick: () => placeUnder(caveat, button),
    },
    "?",
  );
  button.popoverTargetElement = caveat;
  return { caveat, button };
}
