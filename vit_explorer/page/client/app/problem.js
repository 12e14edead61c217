// What went wrong, in a sentence: it goes when it is dismissed, when the reader goes on, or when it has
// had time to be read.

import { el, replace, setText } from "../base/dom.js";
import { t } from "../base/words.js";

// Milliseconds: at least so long, and so much for each character.
const SHORTEST = 10_000;
const READING = 120;

/** @param {Context} context */
export function createProblem({ store, actions, signal }) {
  const words = el("p", { role: "alert" });
  const instead = el("div", { class: "problem-instead" });
  const close = el(
    "button",
    { type: "button", class: "problem-close", "aria-label": t("action.dismiss"), onclick: dismiss },
    "×",
  );
  const node = el(
    "div",
    { class: "problem", hidden: true, onpointerenter: stay, onpointerleave: wait, onfocusin: stay, onfocusout: wait },
    el("div", {}, words, instead),
    close,
  );
  let waiting = 0;

  function dismiss() {
    store.set({ problem: "" });
  }

  /** Whoever reads it with the pointer, or is at its buttons, has all the time there is. */
  function stay() {
    clearTimeout(waiting);
  }

  function wait() {
    stay();
    const { problem } = store.get();
    if (problem) waiting = setTimeout(dismiss, Math.max(SHORTEST, READING * problem.length));
  }

  /**
   * @param {string} model
   * @param {boolean} again
   */
  const offer = (model, again) =>
    el(
      "button",
      { type: "button", dataset: { model }, onclick: () => actions.explainModel(model) },
      again ? t("action.again") : t("action.use", { model }),
    );

  /** @param {State} state */
  function show({ problem, instead: offered }) {
    setText(words, problem);
    node.hidden = !problem;
    replace(instead, offered.of === problem ? offered.models.map((model) => offer(model, model === offered.again)) : []);
    wait();
  }

  window.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !store.get().problem) return;
      if (document.querySelector("dialog[open], :popover-open")) return; // theirs is the key
      event.stopPropagation(); // else it would unpin a patch as well
      dismiss();
    },
    { capture: true, signal },
  );
  signal.addEventListener("abort", stay);
  let shown = "";
  store.on(["problem", "tab"], (state) => {
    // What goes wrong as the reader turns to another view is news; what went wrong before is not.
    if (state.problem !== shown) show(state);
    else if (shown) dismiss();
    shown = state.problem;
  });
  return node;
}
