// The page's root: builds it, keeps the newest result, and turns actions into requests.

import { el, replace } from "../base/dom.js";
import { applyTheme } from "../base/theme.js";
import { isLanguage, learnLanguages, speak } from "../base/words.js";
import { setTables } from "../maps/colours.js";
import { forgetFailures } from "../server/packed.js";
import { readSetup } from "../server/requests.js";
import { keepEdit } from "../state/edits.js";
import { addLinks, beginningOf, choicesOf, keepPlace, readPlace } from "../state/link.js";
import { prepareResult } from "../state/results.js";
import { followOther } from "../state/second_result.js";
import { START } from "../state/state.js";
import { createStore, readSettings, rememberSettings } from "../state/store.js";
import { createActions } from "./actions.js";
import { createStatus, createTabs } from "./frame.js";
import { createHeader } from "./header.js";
import { listenForPictures } from "./intake.js";
import { createLook } from "./look.js";
import { createPanels } from "./panels.js";
import { createPresenting } from "./presenting.js";
import { createSidebar } from "./sidebar.js";
import { VIEW_LINKS } from "./view_links.js";
import { fetchViews, VIEWS } from "./views.js";

const LATER = 2000;

addLinks(VIEW_LINKS);

/** @param {HTMLElement} root */
export async function mount(root) {
  const setup = await readSetup();
  const tabs = Object.keys(VIEWS);
  learnLanguages(setup.languages);
  const { tab, place, language, linked } = readPlace(tabs, setup);
  const store = createStore({ ...START, ...readSettings(), tab, linked });
  if (language) store.set({ language });
  // What was chosen once may be gone from the server.
  if (!isLanguage(store.get().language)) store.set({ language: "" });
  await speak(store.get().language, setup.words);
  rememberSettings(store);
  store.on(["theme"], ({ theme }) => applyTheme(theme));
  applyTheme(store.get().theme);
  setTables(setup);
  const requests = createActions({
    store,
    setup,
    adopt: (result, isNewest, problem) => adopt(store, result, isNewest, problem),
  });
  const actions = { ...requests, other: followOther({ store, setup }) };
  keepPlace(store, tabs, setup, actions.explainPlace);
  keepEdit(store);
  translateOnChange(root, { store, setup, actions });
  actions.explainPlace(place);
  let whole = false;
  store.on(["result"], () => {
    if (!whole) fetchRest();
    whole = true;
  });
}

/** What the first picture did not need to wait for. */
function fetchRest() {
  // A lost server is told of where something is asked of it.
  fetchViews().catch(() => {});
  setTimeout(keepOffline, LATER);
}

/** Have the page's files kept, so that it opens without its server; not all browsers allow it. */
function keepOffline() {
  const worker = new URL("worker.js", document.baseURI);
  navigator.serviceWorker?.register(worker).catch(() => {});
}

/**
 * Build the page, and build it anew in each language the reader turns to; the store stays.
 * @param {HTMLElement} root
 * @param {Omit<Context, "signal"> & { store: RootStore }} context
 */
function translateOnChange(root, context) {
  const { store, setup } = context;
  let spoken = store.get().language;
  store.on(["language"], rebuild);
  const forget = store.mark();
  let life = new AbortController();
  build(root, { ...context, signal: life.signal });

  /** @param {State} state */
  async function rebuild({ language }) {
    if (language === spoken) return;
    spoken = language;
    await speak(language, setup.words);
    const giveBack = keepTyped(root);
    forget();
    life.abort();
    life = new AbortController();
    build(root, { ...context, signal: life.signal });
    store.announce();
    giveBack();
  }
}

/** A function that gives back the focus, the scrolling, and what was typed into named inputs. */
function keepTyped(root) {
  const inputs = 'input[id]:not([type="file"])';
  const typed = [...root.querySelectorAll(inputs)].map(({ id, value }) => [id, value]);
  const focused = document.activeElement?.id;
  const top = window.scrollY;
  return () => {
    for (const [id, value] of typed) {
      const input = /** @type {HTMLInputElement | null} */ (document.getElementById(id));
      if (input) input.value = value;
    }
    if (focused) document.getElementById(focused)?.focus();
    requestAnimationFrame(() => window.scrollTo(0, top));
  };
}

/** @param {Context} context */
function build(root, context) {
  const { store } = context;
  const bar = el(
    "div",
    { class: "main-bar" },
    createTabs(store, Object.keys(VIEWS)),
    createLook(context),
  );
  const main = el("div", { class: "main" }, bar, createStatus(context));
  let seen = false;
  /** @param {State} state */
  const tell = ({ result, busy }) => {
    root.dataset.state = result && seen ? "ready" : "empty";
    root.setAttribute("aria-busy", String(Boolean(busy)));
  };
  store.on(["result", "busy"], tell);
  const panels = createPanels(context, () => {
    seen = true;
    tell(store.get());
  });
  main.append(...panels, createPresenting(context, root, Object.keys(VIEWS)));
  replace(root, createHeader(context), createSidebar(context), main, listenForPictures(context));
}

/**
 * Make a result ready to draw, then show it all at once; attention follows as it arrives.
 * @param {Store} store
 * @param {Result} result
 */
async function adopt(store, result, isNewest, problem) {
  const before = store.get();
  const ready = await prepareResult(result, before);
  if (!isNewest()) return;
  forgetFailures();
  const { model } = result;
  const alike = before.result?.model.id === model.id;
  store.set({
    ...ready,
    busy: "",
    hover: null,
    ...(alike
      ? {}
      : { ...beginningOf(model), brushAt: null, head: "mean", direction: "from" }),
    ...choicesOf(before.linked, result, problem),
    linked: {},
  });
  if (result.attention.whole)
    result.attention.data.loadAll();
}
