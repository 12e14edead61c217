// The panels that the tabs show: each view is made when its tab is first opened.

import { el } from "../base/dom.js";
import { runEffects } from "../base/effects.js";
import { lackOfTab } from "../base/lacks.js";
import { createLack } from "../controls/lack.js";
import { VIEWS } from "./views.js";
import { seenThrough, withChanges } from "../state/store.js";

/**
 * Panels by the views' names; `onFirst` runs once, when the first of them can be seen.
 * @param {Context} context
 */
export function createPanels(context, onFirst) {
  const { store, signal } = context;
  const views = {};
  let begun = false;
  const lack = createLack(context);
  const panels = Object.fromEntries(
    Object.keys(VIEWS).map((name) => [
      name,
      el("div", {
        id: `vx-view-${name}`,
        role: "tabpanel",
        "aria-labelledby": `vx-tab-${name}`,
        hidden: true,
      }),
    ]),
  );

  async function open(name) {
    const create = await VIEWS[name]();
    if (signal.aborted || views[name]) return;
    // A view has no result to show while the model lacks what it shows.
    const see = (state) => (lackOfTab(state, name) ? withChanges(state, { result: null }) : state);
    views[name] = create({ ...context, store: seenThrough(store, see) });
    panels[name].append(views[name].node);
    show(store.get());
  }

  /** @param {State} state */
  function show(state) {
    const { tab } = state;
    for (const [name, panel] of Object.entries(panels)) panel.hidden = name !== tab;
    const missing = lackOfTab(state, tab);
    lack.draw(state, missing);
    panels[tab].prepend(lack.node);
    if (views[tab]) views[tab].node.hidden = Boolean(missing);
    if (!views[tab] && !missing) open(tab);
    else begin();
  }

  function begin() {
    runEffects();
    if (!begun) onFirst();
    begun = true;
  }
  store.on(["tab", "result"], show);
  show(store.get());
  return Object.values(panels);
}
