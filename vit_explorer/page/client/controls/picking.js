// Choosing a place in a chart by the pointer.

// Pixels that a finger may slip in a tap.
const SLIP = 8;

/**
 * Call `onPick(event)` where the pointer presses and drags, `onRelease` at its end. A finger picks by
 * a tap or a sideways move: any other swipe scrolls the page.
 */
export function listenForPicks(node, onPick, onRelease = () => {}) {
  let touched = null;

  function take(event) {
    node.setPointerCapture(event.pointerId);
    onPick(event);
  }

  node.addEventListener("pointerdown", (event) => {
    touched = event.pointerType === "touch" ? event : null;
    if (!touched) take(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (event.buttons && (!touched || isSideways(touched, event))) take(event);
  });
  node.addEventListener("click", (event) => {
    if (!touched) return;
    onPick(event);
    onRelease();
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, onRelease);
}

function isSideways(start, { clientX, clientY }) {
  const [right, down] = [Math.abs(clientX - start.clientX), Math.abs(clientY - start.clientY)];
  return right > SLIP && right > down;
}
