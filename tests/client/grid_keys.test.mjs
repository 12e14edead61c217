import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page.mjs";

const { stepInGrid } = await load("controls/grid_keys.js");

/** So many buttons that note who has the focus; the first is in the order of tabs. */
function gridOf(count, lacking = []) {
  globalThis.document = { activeElement: null };
  return Array.from({ length: count }, (_, index) => {
    const button = { tabIndex: index ? -1 : 0, disabled: lacking.includes(index) };
    button.focus = () => (globalThis.document.activeElement = button);
    return { index, button };
  });
}

const press = (cells, key) => {
  let kept = false;
  const next = stepInGrid({ key, preventDefault: () => (kept = true) }, cells, 3);
  assert.equal(kept, next !== null);
  return next?.index ?? null;
};

test("arrow keys step to the neighbour, row by row", () => {
  const cells = gridOf(6);
  assert.equal(press(cells, "ArrowRight"), null); // none has the focus
  cells[0].button.focus();
  const way = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"].map((key) => press(cells, key));
  assert.deepEqual(way, [1, 4, 3, 0]);
  assert.equal(globalThis.document.activeElement, cells[0].button);
  assert.deepEqual(cells.map(({ button }) => button.tabIndex), [0, -1, -1, -1, -1, -1]);
});

test("there is no step out of the grid, to what is disabled, or by another key", () => {
  const cells = gridOf(6, [1]);
  cells[0].button.focus();
  for (const key of ["ArrowUp", "ArrowLeft", "ArrowRight", "Enter"]) assert.equal(press(cells, key), null);
  assert.equal(press(cells, "ArrowDown"), 3);
});
