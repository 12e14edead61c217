// Presenting: large type and one figure at a time, stepped by the arrow keys or a clicker.

import { el, setText } from "../base/dom.js";
import { targetName, told } from "../base/outputs.js";
import { t } from "../base/words.js";

// What a clicker sends, and what hands that hold none press.
const FORTH = ["ArrowRight", "PageDown", " ", "Enter"];
const BACK = ["ArrowLeft", "PageUp", "Backspace"];
const KEY = "p";

/** @param {Event} event */
const isTyping = ({ target }) =>
  target instanceof Element && target.closest("input:not([type=range]), select, textarea, dialog") !== null;

/**
 * Where a step leads: the next figure of this view, or the first or last of the view beside it; null
 * at either end. `counts` are the numbers of figures in the views, in their order.
 * @param {number[]} counts
 * @param {{ view: number, slide: number }} here
 * @param {1 | -1} way
 */
export function stepTo(counts, { view, slide }, way) {
  const next = slide + way;
  if (next >= 0 && next < counts[view]) return { view, slide: next };
  const beside = view + way;
  if (beside < 0 || beside >= counts.length) return null;
  return { view: beside, slide: way > 0 ? 0 : counts[beside] - 1 };
}

/**
 * The views that presenting steps through: a comparison and a film where there is one; Learn has steps
 * of its own.
 * @param {string[]} names
 * @param {Pick<State, "other" | "result">} state
 */
export function presentedViews(names, { other, result }) {
  const there = { learn: false, compare: Boolean(other), training: Boolean(result?.film.url) };
  return names.filter((name) => there[name] ?? true);
}

/**
 * Returns the line that says whose figure it is; `root` is told, so that styles follow.
 * @param {Context} context
 * @param {HTMLElement} root
 * @param {string[]} names - of the views
 */
export function createPresenting({ store, actions, signal }, root, names) {
  const caption = el("p", { class: "presenting-caption", hidden: true });
  const gallery = () => root.querySelector("#vx-view-explain .gallery");
  const figures = () => /** @type {HTMLElement[]} */ ([...(gallery()?.children ?? [])]);

  /** Learn has its steps, Explain its maps; any other view is one figure. */
  const countOf = (name) => (name === "explain" ? Math.max(1, figures().length) : 1);

  function turn(way) {
    const { tab, slide, step } = store.get();
    if (tab === "learn") {
      const next = step + way;
      if (root.querySelectorAll(".learn-dots button")[next]) store.set({ step: next, hover: null });
      return;
    }
    const shown = presentedViews(names, store.get());
    const found = stepTo(shown.map(countOf), { view: shown.indexOf(tab), slide }, way);
    if (found && found.view >= 0) store.set({ tab: shown[found.view], slide: found.slide, hover: null });
  }

  function press(event) {
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event);
    const { presenting } = store.get();
    if (!plain) return;
    if (event.key.toLowerCase() === KEY) actions.present(!presenting);
    else if (!presenting) return;
    else if (event.key === "Escape") actions.present(false);
    else if (FORTH.includes(event.key)) turn(1);
    else if (BACK.includes(event.key)) turn(-1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // else a canvas would move its patch
  }

  function show() {
    const state = store.get();
    const { presenting, slide, result, tab } = state;
    root.toggleAttribute("data-presenting", presenting);
    figures().forEach((figure, at) => figure.toggleAttribute("data-slide", at === slide));
    caption.hidden = !presenting || !result || tab === "learn";
    if (!result) return;
    const { model, picture, target } = result;
    const aim = target ? `${targetName(target)} ${told(target)}` : "";
    setText(caption, [model.name, picture.name, aim].filter(Boolean).join(" · "));
  }

  window.addEventListener("keydown", press, { capture: true, signal });
  document.addEventListener(
    "fullscreenchange",
    () => {
      // The browser's own Esc leaves the full screen, and tells no key.
      if (!document.fullscreenElement && store.get().presenting) actions.present(false);
    },
    { signal },
  );
  const watch = new MutationObserver(show);
  signal.addEventListener("abort", () => watch.disconnect());
  store.on(["presenting", "slide", "tab", "result"], () => {
    const cards = gallery();
    if (cards) watch.observe(cards, { childList: true });
    show();
  });
  store.on(["presenting"], ({ presenting }) => {
    if (presenting) actions.tell(t("presenting.told"));
  });
  return caption;
}
