// One map over the picture, with its scale, what it is worth, and what to beware of.

import { describeMap } from "./alt_text.js";
import { mapTitle, shownMaps } from "./chosen_maps.js";
import { createColourBar } from "./colour_bar.js";
import { manner, tableFor } from "./colours.js";
import { el, placeUnder, setText } from "./dom.js";
import { createFigureMenu, gridTable } from "./figure_menu.js";
import { short } from "./format.js";
import { valueAt } from "./geometry.js";
import { optionsOf, pythonOf } from "./map_code.js";
import { createPatchCanvas } from "./patch_canvas.js";
import { cropAspect, cropIn } from "./picture.js";
import { overlay } from "./pixels.js";
import { queryToken } from "./store.js";
import { createTrustLine } from "./trust_line.js";
import { said, sentences, t } from "./words.js";

/** Where the patch grid lies on a card's canvas. */
export function mapRegion(state, width, height) {
  return state.whole ? cropIn(state.result, width, height) : [0, 0, width, height];
}

/** Width over height of what a card shows. */
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

export function createMapCard(context, id, map) {
  const { store, setup } = context;
  const { model } = store.get().result;
  const title = mapTitle(id);
  const label = describeMap(title, map.values, map.grid, map.signed);
  const bar = createColourBar(short);
  const here = el("span", { class: "pill here", hidden: true });
  const canvas = createPatchCanvas({ store, label, paint, region: mapRegion, keyboard: false });
  const empty = map.values.every((value) => value === 0);
  const remark = empty ? t("explain.zero") : map.class_specific ? "" : t("explain.noClass");
  const trust = createTrustLine(context, map);
  const { caveat, button } = createCaveat(map, title);
  const menu = createFigureMenu(context, id, {
    targeted: () => map.class_specific,
    title: () => title,
    figure: (state) => ({
      paint: (target, width, height) => paint(target, width, height, state),
      aspect: mapAspect(state),
      bar: { table: tableFor(state.colormap, map.signed), limits: limits(state), format: short },
    }),
    table: () => gridTable(map.values, map.grid),
    npz: ({ result }) => (result.maps.includes(map) || map.layer !== undefined ? `maps/${id}` : null),
    python: (state) => pythonOf(map, state, limits(state)),
    options: (state) => optionsOf(map, state),
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
    el("figcaption", {}, el("h3", {}, el("span", { class: "heading" }, title), button, menu), trust.node, bar.node),
  );

  function limits(state) {
    return state.shared ? sharedLimits(shownMaps(state, setup), map.unit) : map.limits;
  }

  function paint(target, width, height, state) {
    const how = manner(state, {
      signed: map.signed,
      limits: limits(state),
      region: state.whole ? mapRegion(state, width, height) : undefined,
    });
    const base = state.image.pixels(width, height, state.whole);
    target.putImageData(overlay(base, map.values, map.grid, how), 0, 0);
  }

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
  }
  return { node, draw, focus: () => button.focus() };
}

function createCaveat(map, title) {
  const caveat = el(
    "div",
    { class: "limits", popover: "auto", id: `vx-caveat-${map.name}` },
    el("p", {}, t(`method.${map.name}.summary`)),
    el("p", {}, caveatOf(map)),
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
