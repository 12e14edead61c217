// The panels that the tabs show: each view is made when its tab is first opened.

import { el } from "./dom.js";
import { VIEWS } from "./views.js";

/** Panels by the views' names; `onFirst` runs once, when the first of them can be seen. */
export function createPanels(context, onFirst) {
  const { store, signal } = context;
  const views = {};
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
    const first = Object.keys(views).length === 0;
    views[name] = create(context);
    panels[name].append(views[name].node);
    views[name].draw();
    if (first) onFirst();
  }

  function show({ tab }) {
    for (const [name, panel] of Object.entries(panels)) panel.hidden = name !== tab;
    if (views[tab]) views[tab].draw();
    else open(tab);
  }
  store.on(["tab"], show);
  show(store.get());
  return Object.values(panels);
}
