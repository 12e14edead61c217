// What surrounds the views: the tabs, and what is being done or went wrong.

import { el, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { openTab } from "../state/link.js";
import { createProblem } from "./problem.js";

// Milliseconds: at least so long, and so much for each character.
const TOLD_TIME = 2500;
const READING = 60;

/** @param {Store} store */
export function createTabs(store, names) {
  const tabs = names.map((name) =>
    el(
      "a",
      {
        role: "tab",
        href: `#${name}`,
        id: `vx-tab-${name}`,
        "aria-controls": `vx-view-${name}`,
        onclick: (event) => open(event, name),
      },
      t(`tab.${name}`),
    ),
  );
  const narrow = window.matchMedia("(max-width: 800px)");
  const showTabs = () => node.closest(".main")?.scrollIntoView({ block: "start" });

  function open(event, name) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openTab(store, name);
    // Under the picture and the predictions of a narrow page the view would change out of sight.
    // It is drawn in the next frame, and may be shorter than the one before until then.
    if (narrow.matches) requestAnimationFrame(() => requestAnimationFrame(showTabs));
  }

  /** @param {State} state */
  const show = ({ tab }) => {
    if (tab === "learn") store.set({ learnt: true });
    for (const link of tabs) {
      const chosen = link.id === `vx-tab-${tab}`;
      link.setAttribute("aria-selected", String(chosen));
      link.tabIndex = chosen ? 0 : -1;
      // Where they don't all fit, the one that is chosen is in sight.
      if (chosen) node.scrollLeft = link.offsetLeft - (node.clientWidth - link.offsetWidth) / 2;
    }
  };
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  };
  const learn = tabs[names.indexOf("learn")];
  learn.append(el("span", { class: "start-here" }, t("tab.learn.start")));
  /** @param {State} state */
  const hint = ({ learnt }) => learn.classList.toggle("fresh", !learnt);
  store.on(["tab"], show);
  store.on(["learnt"], hint);
  const node = el(
    "nav",
    { class: "tabs", role: "tablist", "aria-label": t("tabs"), onkeydown: move },
    tabs,
  );
  show(store.get());
  hint(store.get());
  return node;
}

/** @param {Context} context */
export function createStatus(context) {
  const { store, actions } = context;
  const doing = el("p", { role: "status" });
  const stop = el("button", { type: "button", onclick: actions.stop }, t("action.stop"));
  const busy = el("div", { class: "busy" }, doing, stop);
  const told = el("p", { class: "told", role: "status" });
  let telling = 0;
  const forget = () => store.set({ told: "" });
  store.on(["told"], (state) => {
    setText(told, state.told);
    clearTimeout(telling);
    if (state.told) telling = setTimeout(forget, Math.max(TOLD_TIME, READING * state.told.length));
  });
  store.on(["busy", "result"], (state) => {
    setText(doing, state.busy);
    busy.dataset.busy = String(Boolean(state.busy));
    stop.hidden = !state.result;
  });
  return el("div", { class: "status" }, busy, told, createProblem(context));
}
