// The gallery of models: a card for each that is worth a look, and any other name by search.

import { el, replace, setText } from "../base/dom.js";
import { t } from "../base/words.js";
import { readGallery, readHub } from "../server/requests.js";
import { createModelCard } from "./model_card.js";

/**
 * The dialog, and what opens it; `offerAll` fills the list of all names.
 * @param {Context} context
 * @param {() => void} offerAll
 */
export function createGallery({ store, actions }, offerAll) {
  const says = el("p", { class: "note", role: "status" });
  const away = el("p", { class: "wrong", role: "status" });
  const shelf = el("ul", { class: "model-cards" });
  const close = el("button", { type: "button", onclick: () => node.close() }, t("gallery.close"));
  const node = el(
    "dialog",
    { class: "dialog gallery-dialog", "aria-labelledby": "vx-gallery-title" },
    el("div", { class: "gallery-head" }, el("h2", { id: "vx-gallery-title" }, t("gallery.title")), close),
    el("p", { class: "note" }, t("gallery.note")),
    away,
    says,
    shelf,
    createSearch(),
  );
  /** @type {ReturnType<typeof createModelCard>[]} */
  let cards = [];
  let asked = "";

  function createSearch() {
    const input = el("input", {
      id: "vx-gallery-name",
      list: "vx-models",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: t("models.hint"),
      onfocus: offerAll,
    });
    return el(
      "form",
      { class: "gallery-search", onsubmit: search },
      el("label", { class: "field" }, el("span", {}, t("gallery.other")), input),
      el("button", {}, t("action.load")),
    );

    function search(event) {
      event.preventDefault();
      node.close();
      actions.explainModel(input.value.trim());
    }
  }

  function load(name) {
    asked = name;
    actions.explainModel(name);
  }

  async function open() {
    setText(says, cards.length ? "" : t("gallery.reading"));
    node.showModal();
    try {
      const exhibits = await readGallery();
      cards = exhibits.map((exhibit) => createModelCard(exhibit, { load, stop: actions.stop }));
      replace(shelf, cards.map((card) => card.node));
      setText(says, "");
      follow(store.get());
      const { reachable } = await readHub();
      setText(away, reachable ? "" : t("gallery.offline"));
    } catch (error) {
      setText(says, error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  /** @param {State} state */
  function follow({ busy, loading, problem, result }) {
    for (const card of cards) {
      card.mark(result?.model.id);
      if (card.name !== asked) card.rest();
      else if (busy) card.wait(loading?.loading === asked ? loading : null);
      else card.rest(problem);
    }
    if (busy || !asked) return;
    if (result?.model.id === asked && !problem) node.close();
    else learn();
    asked = ""; // it is there, stopped or refused
  }

  /** What a download that ended has left; where the server is lost, the page says so itself. */
  async function learn() {
    const facts = await readGallery().catch(() => []);
    for (const one of facts) cards.find((card) => card.name === one.name)?.learn(one);
  }

  store.on(["busy", "loading", "result"], follow);
  return { node, open };
}
