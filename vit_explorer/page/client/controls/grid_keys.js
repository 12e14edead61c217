// Arrow keys in a grid of buttons, such as a matrix of heads: one of them is in the order of tabs.

/**
 * Focus the neighbour that an arrow key means, and give it; null where there is none to go to.
 * @template {{ button: HTMLButtonElement }} Cell
 * @param {KeyboardEvent} event
 * @param {Cell[]} cells row by row
 * @param {number} columns
 * @returns {Cell | null}
 */
export function stepInGrid(event, cells, columns) {
  const at = cells.findIndex(({ button }) => button === document.activeElement);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const next = cells[at + (steps[event.key] ?? NaN)];
  if (at < 0 || !next || next.button.disabled) return null;
  event.preventDefault();
  cells[at].button.tabIndex = -1;
  next.button.tabIndex = 0;
  next.button.focus();
  return next;
}
