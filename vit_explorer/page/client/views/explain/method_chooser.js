// Every method by name and what it shows, to search and tick; the gallery follows.

import { el, setText } from "../../base/dom.js";
import { lackOfMethod, whyNot } from "../../base/lacks.js";
import { t } from "../../base/words.js";
import { chooseMethods, chosenMethods, usualMethods } from "../../state/chosen_maps.js";

/** @param {Context} context */
export function createMethodChooser({ store, setup, signal }) {
  const search = el("input", {
    type: "search",
    id: "vx-method-search",
    placeholder: t("explain.chooser.search"),
    "aria-label": t("explain.chooser.search"),
    autocomplete: "off",
    spellcheck: "false",
    oninput: filter,
  });
  const groups = [false, true].map((slow) => createGroup(slow));
  const rows = groups.flatMap((group) => group.rows);
  const none = el("p", { class: "note", hidden: true }, t("explain.chooser.none"));
  const panel = el(
    "div",
    { class: "chooser-panel", id: "vx-methods", hidden: true, role: "group", "aria-label": t("explain.chooser") },
    search,
    el("div", { class: "chooser-list" }, groups.map((group) => group.node), none),
    el(
      "div",
      { class: "chooser-actions" },
      action("explain.chooser.usual", () => usualMethods(store.get(), setup).map((name) => ({ name }))),
      action("explain.chooser.fast", () => allowed().filter(({ slow }) => !slow)),
      action("explain.chooser.all", allowed),
    ),
  );
  const button = el("button", {
    type: "button",
    id: "vx-choose",
    class: "chooser-button",
    "aria-expanded": "false",
    "aria-controls": panel.id,
    onclick: () => open(panel.hidden),
  });
  const node = el("div", { class: "chooser", onkeydown: close }, button, panel);
  window.addEventListener(
    "pointerdown",
    (event) => {
      if (!node.contains(/** @type {Node} */ (event.target))) open(false);
    },
    { signal },
  );

  /** The methods that the model at hand allows. */
  function allowed() {
    const { model } = store.get().result;
    return setup.methods.filter((method) => !lackOfMethod(model, method));
  }

  function action(key, choose) {
    const names = () => choose().map(({ name }) => name);
    return el("button", { type: "button", onclick: () => chooseMethods(store, setup, names()) }, t(key));
  }

  function createGroup(slow) {
    const made = setup.methods.filter((method) => method.slow === slow).map(createRow);
    const list = made.map((row) => row.node);
    const title = el("h4", {}, t(slow ? "explain.chooser.slow" : "explain.chooser.onepass"));
    return { rows: made, node: el("div", { class: "chooser-group" }, title, list) };
  }

  function createRow(method) {
    const { name } = method;
    const box = el("input", { type: "checkbox", id: `vx-method-${name}`, onchange: () => tick(name) });
    const [title, summary] = [t(`method.${name}.title`), t(`method.${name}.summary`)];
    const named = method.place ? t("explain.chooser.place", { place: method.place, title }) : title;
    const label = el("span", {}, el("strong", {}, named), el("small", {}, summary));
    return { name, method, box, text: `${title} ${summary}`.toLowerCase(), node: el("label", {}, box, label) };
  }

  function tick(name) {
    const chosen = chosenMethods(store.get(), setup);
    const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
    chooseMethods(store, setup, next);
  }

  function filter() {
    const words = search.value.trim().toLowerCase().split(/\s+/);
    for (const row of rows) row.node.hidden = !words.every((word) => row.text.includes(word));
    for (const group of groups) group.node.hidden = group.rows.every((row) => row.node.hidden);
    none.hidden = groups.some((group) => !group.node.hidden);
  }

  function open(wanted) {
    if (panel.hidden === !wanted) return;
    panel.hidden = !wanted;
    button.setAttribute("aria-expanded", String(wanted));
    if (wanted) search.focus();
  }

  function close(event) {
    if (event.key !== "Escape" || panel.hidden) return;
    event.stopPropagation();
    open(false);
    button.focus();
  }

  /** @param {State} state */
  function draw(state) {
    const chosen = chosenMethods(state, setup);
    setText(button, t("explain.chooser.count", { count: chosen.length, all: setup.methods.length }));
    const { model } = state.result;
    for (const { name, method, box, node: row } of rows) {
      const lack = lackOfMethod(model, method);
      box.checked = chosen.includes(name);
      box.disabled = Boolean(lack) && !box.checked;
      row.classList.toggle("lacking", Boolean(lack));
      row.title = lack ? whyNot(model, lack) : "";
    }
  }
  return { node, draw };
}
