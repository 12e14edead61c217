// Where a map is strongest, and the way to try what it says: take that patch away and see.

import { el, setText } from "../../base/dom.js";
import { lackOfTab } from "../../base/lacks.js";
import { t } from "../../base/words.js";
import { cellAt, tokenAt } from "../../maps/geometry.js";
import { openTab } from "../../state/link.js";

/**
 * The patch in which a map's largest cell has its middle, as row and column; null where the map speaks
 * for no place: everything is 0 or nothing is above.
 * @param {Heatmap} map
 * @param {Model} model
 * @returns {Pair | null}
 */
export function strongestPatch({ values, grid }, model) {
  const best = values.indexOf(Math.max(...values));
  return values[best] > 0 ? cellAt(best, grid, model.grid) : null;
}

/**
 * @param {Context} context
 * @param {Heatmap} map
 */
export function createStrongest({ store }, map) {
  const { model } = store.get().result;
  const place = strongestPatch(map, model);
  const words = el("span");
  const test = el(
    "button",
    { type: "button", class: "in-text", title: t("explain.strongest.title"), onclick: tryIt },
    t("explain.strongest.test"),
  );
  const node = el("p", { class: "note strongest", hidden: !place }, words, " ", test);
  if (place) setText(words, t("explain.strongest", { row: place[0] + 1, column: place[1] + 1 }));

  function tryIt() {
    const { edit, editPast } = store.get();
    const [row, column] = /** @type {Pair} */ (place);
    openTab(store, "whatif", {
      pinned: tokenAt(model, row, column),
      ranking: map.name,
      edit: { ...edit, patches: [row * model.grid[1] + column] },
      editPast: [...editPast, edit],
      editFuture: [],
    });
  }

  /** @param {State} state */
  function draw(state) {
    test.hidden = !state.result.target || lackOfTab(state, "whatif") !== null;
  }
  return { node, draw };
}
