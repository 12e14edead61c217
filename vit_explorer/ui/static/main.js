// The page's root: builds it, keeps the newest result, and turns actions into requests.

import { Attention } from "./attention_data.js";
import { createActions } from "./actions.js";
import { setTables } from "./colours.js";
import { el, replace } from "./dom.js";
import { createStatus, createTabs } from "./frame.js";
import { startToken } from "./geometry.js";
import { createHeader } from "./header.js";
import { listenForPictures } from "./intake.js";
import { createLook } from "./look.js";
import { loadImage, PixelSource } from "./picture.js";
import { keepPlace, readPlace } from "./place.js";
import { address, readFloats, readSetup } from "./server.js";
import { createSidebar } from "./sidebar.js";
import { createStore, readSettings, rememberSettings } from "./store.js";
import { applyTheme } from "./theme.js";
import { createAttentionView } from "./views/attention.js";
import { createExplainView } from "./views/explain.js";
import { createModelView } from "./views/model.js";
import { createPatchesView } from "./views/patches.js";
import { createPositionsView } from "./views/positions.js";
import { createTrainingView } from "./views/training.js";

const VIEWS = {
  explain: createExplainView,
  attention: createAttentionView,
  patches: createPatchesView,
  positions: createPositionsView,
  model: createModelView,
  training: createTrainingView,
};

const START = {
  result: null,
  image: null,
  seen: null,
  arrivals: 0,
  busy: "",
  problem: "",
  tab: "explain",
  hover: null,
  pinned: 0,
  layer: 0,
  head: "mean",
  direction: "from",
  opacity: 0.6,
  colormap: "inferno",
  smooth: true,
  whole: false,
  shared: false,
  theme: "",
  film: null,
  frame: 0,
  probe: 0,
  playing: false,
  runs: null,
  training: null,
};

export async function mount(root, bridge) {
  const setup = await readSetup();
  const tabs = Object.keys(VIEWS);
  const { tab, place } = readPlace(tabs, setup);
  const store = createStore({ ...START, ...readSettings(), tab });
  rememberSettings(store);
  store.on(["theme"], ({ theme }) => applyTheme(theme));
  applyTheme(store.get().theme);
  setTables(setup);
  const actions = createActions({
    store,
    setup,
    bridge,
    adopt: (...answer) => adopt(store, ...answer),
  });
  build(root, { store, setup, actions });
  listenForPictures(root, actions);
  keepPlace(store, tabs, setup, actions.explainPlace);
  actions.explainPlace(place);
}

function build(root, context) {
  const { store } = context;
  const bar = el(
    "div",
    { class: "main-bar" },
    createTabs(store, Object.keys(VIEWS)),
    createLook(context),
  );
  const main = el("div", { class: "main" }, bar, createStatus(store));
  const views = Object.fromEntries(
    Object.entries(VIEWS).map(([name, create]) => [name, create(context)]),
  );
  for (const [name, view] of Object.entries(views)) {
    view.node.id = `vx-view-${name}`;
    view.node.setAttribute("role", "tabpanel");
    view.node.setAttribute("aria-labelledby", `vx-tab-${name}`);
    main.append(view.node);
  }
  const show = ({ tab }) => {
    for (const [name, view] of Object.entries(views)) view.node.hidden = name !== tab;
  };
  store.on(["tab"], (state) => {
    show(state);
    views[state.tab].draw();
  });
  show(store.get());
  store.on(["result", "busy"], ({ result, busy }) => {
    root.dataset.state = result ? "ready" : "empty";
    root.setAttribute("aria-busy", String(Boolean(busy)));
  });
  replace(root, createHeader(context), createSidebar(context), main);
}

/** Make a result ready to draw, then show it all at once; attention follows as it arrives. */
async function adopt(store, result, isNewest, problem) {
  const before = store.get();
  const same = before.result?.pass === result.pass;
  if (result.model.labels) result.model.labels = address(result.model.labels);
  for (const part of [
    result.picture,
    result.seen,
    result.attention,
    result.positions,
    result.film,
  ]) {
    if (part.url) part.url = address(part.url);
  }
  result.download = address(result.download);
  const [whole, seen, positions] = await Promise.all([
    same ? before.image.whole : loadImage(result.picture.url),
    same ? before.seen : loadImage(result.seen.url),
    result.positions.url ? positionValues(before.result, result) : null,
  ]);
  if (!isNewest()) return;
  result.positions.values = positions;
  const arrived = () => store.set({ arrivals: store.get().arrivals + 1 });
  result.attention.data = same
    ? before.result.attention.data
    : new Attention(result.attention, arrived);
  const { model } = result;
  const alike = before.result?.model.id === model.id;
  store.set({
    result,
    image: same ? before.image : new PixelSource(whole, seen, result),
    seen,
    busy: "",
    problem,
    hover: null,
    ...(alike
      ? {}
      : { pinned: startToken(model), layer: model.depth - 1, head: "mean", direction: "from" }),
  });
  if (!same && result.attention.whole)
    result.attention.data.loadAll().catch(() => store.set({ arrivals: -1 }));
}

function positionValues(before, result) {
  if (before?.model.key === result.model.key) return before.positions.values;
  return readFloats(result.positions.url);
}
