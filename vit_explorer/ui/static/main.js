// The page's root: builds it, keeps the newest result, and turns actions into requests.

import { Attention } from "./attention_data.js";
import { setTables } from "./colours.js";
import { el, replace } from "./dom.js";
import { createStatus, createTabs } from "./frame.js";
import { startToken } from "./geometry.js";
import { createHeader } from "./header.js";
import { listenForPictures } from "./intake.js";
import { createLook } from "./look.js";
import { loadImage, PixelSource } from "./picture.js";
import { address, createAnalyser, readFloats, readSetup, sendPicture } from "./server.js";
import { createSidebar } from "./sidebar.js";
import { createStore, readSettings, rememberSettings } from "./store.js";
import { applyTheme, otherTheme } from "./theme.js";
import { createAttentionView } from "./views/attention.js";
import { createExplainView } from "./views/explain.js";
import { createModelView } from "./views/model.js";
import { createPatchesView } from "./views/patches.js";
import { createPositionsView } from "./views/positions.js";
import { t } from "./words.js";

const VIEWS = {
  explain: createExplainView,
  attention: createAttentionView,
  patches: createPatchesView,
  positions: createPositionsView,
  model: createModelView,
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
};

export async function mount(root, bridge) {
  const store = createStore({ ...START, ...readSettings(), tab: tabInAddress() });
  rememberSettings(store);
  store.on(["theme"], ({ theme }) => applyTheme(theme));
  applyTheme(store.get().theme);
  const setup = await readSetup();
  setTables(setup);
  const actions = createActions(store, setup, bridge);
  build(root, { store, setup, actions });
  listenForPictures(root, actions);
  actions.explainExample(setup.examples[0].name);
}

function tabInAddress() {
  const tab = location.hash.slice(1);
  return tab in VIEWS ? tab : "explain";
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
  window.addEventListener("hashchange", () => store.set({ tab: tabInAddress() }));
  replace(root, createHeader(context), createSidebar(context), main);
}

function createActions(store, setup, bridge) {
  const wanted = { picture: null, name: "", model: setup.model, target: null };
  let accepted = { ...wanted };

  const fail = (problem) => store.set({ busy: "", problem });
  const analyse = createAnalyser(bridge, {
    onStage: (stage) => store.set({ busy: stage }),
    onError: (problem) => {
      Object.assign(wanted, accepted); // What the page shows is still the earlier result.
      fail(problem);
    },
    onResult: (result) => {
      accepted = { ...wanted };
      adopt(store, result).catch(() => fail(t("state.offline")));
    },
  });

  function explain(changes) {
    Object.assign(wanted, changes);
    const working = store.get().result
      ? t("state.working", { name: wanted.name })
      : t("state.first");
    store.set({ busy: working, problem: "" });
    analyse({ picture: wanted.picture, model: wanted.model, target: wanted.target });
  }

  async function explainFile(file) {
    if (file.size > setup.max_bytes) {
      const values = {
        size: (file.size / 1e6).toFixed(1),
        limit: (setup.max_bytes / 1e6).toFixed(0),
      };
      fail(t("picture.tooLarge", values));
      return;
    }
    store.set({ busy: t("state.working", { name: file.name }), problem: "" });
    try {
      explain({ picture: await sendPicture(file), name: file.name, target: null });
    } catch (error) {
      fail(error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  return {
    fail,
    explainFile,
    explainExample: (name) => explain({ picture: name, name, target: null }),
    explainTarget: (index, label) => explain({ target: index, name: label }),
    explainModel: (model) => explain({ model, name: model, target: null }),
    toggleTheme: () => store.set({ theme: otherTheme(store.get().theme) }),
  };
}

/** Make a result ready to draw, then show it all at once; attention follows as it arrives. */
async function adopt(store, result) {
  const before = store.get();
  const same = before.result?.pass === result.pass;
  for (const part of [result.picture, result.seen, result.attention, result.positions]) {
    if (part.url) part.url = address(part.url);
  }
  result.download = address(result.download);
  const [whole, seen, positions] = await Promise.all([
    same ? before.image.whole : loadImage(result.picture.url),
    same ? before.seen : loadImage(result.seen.url),
    result.positions.url ? positionValues(before.result, result) : null,
  ]);
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
    problem: "",
    hover: null,
    ...(alike
      ? {}
      : { pinned: startToken(model), layer: model.depth - 1, head: "mean", direction: "from" }),
  });
  if (!same && result.attention.whole)
    result.attention.data.loadAll().catch(() => store.set({ arrivals: -1 }));
}

function positionValues(before, result) {
  if (before?.model.id === result.model.id) return before.positions.values;
  return readFloats(result.positions.url);
}
