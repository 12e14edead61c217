// Explain: the chosen maps over the picture, side by side; how far they agree, and every layer's.

import { el, replace, setText } from "../../base/dom.js";
import { describeLeftOut } from "../../base/lacks.js";
import { list, said, sentences, t } from "../../base/words.js";
import { createGlossary } from "../../controls/glossary.js";
import { mapOf, stopAll } from "../../state/analyses.js";
import { askForBrief, chosenIds, chosenMethods, leftOut } from "../../state/chosen_maps.js";
import { compareUnasked } from "../../state/trust.js";
import { createAgreement, shownPair } from "./agreement.js";
import { createExplainTools } from "./explain_tools.js";
import { createLayerMatrix } from "./layer_matrix.js";
import { createLead } from "./lead.js";
import { createMapCard, mapAspect } from "./map_card.js";
import { createSeenCard } from "./seen_card.js";
import { createWaitingCard } from "./waiting_card.js";


/** @param {Context} context */
export function createExplainView(context) {
  const { store, setup } = context;
  const gallery = el("div", { class: "gallery" });
  const skipped = el("p", { class: "note skipped" });
  const tools = createExplainTools(context);
  const agreement = createAgreement(context);
  const layers = createLayerMatrix(context);
  const lead = createLead(context);
  const node = el(
    "section",
    { class: "view view-explain" },
    lead.node,
    tools.node,
    gallery,
    skipped,
    layers.node,
    createReading(),
  );
  let cards = new Map();
  let seenCard = null;
  let shown = null;

  /**
   * A card for each chosen map; those that stay keep their place, and the focus stays inside.
   * @param {State} state
   */
  function rebuild(state) {
    const { result } = state;
    const focused = [...cards.values(), seenCard].find((card) =>
      card?.node.contains(document.activeElement),
    );
    if (shown !== result) cards = new Map();
    if (shown !== result) seenCard = createSeenCard(context, result);
    const next = new Map();
    for (const id of chosenIds(state, setup)) {
      const map = mapOf(result, id);
      const key = `${id} ${Boolean(map)}`;
      const make = () => (map ? createMapCard(context, id, map) : createWaitingCard(context, id));
      next.set(key, cards.get(key) ?? make());
    }
    const method = focused?.node.dataset.method;
    const stays = [...next.values()].includes(focused);
    const same = shown === result && [...next.keys()].join() === [...cards.keys()].join();
    cards = next;
    shown = result;
    if (same) return;
    replace(gallery, seenCard.node, [...cards.values()].map((card) => card.node), agreement.node);
    if (!focused) return;
    const after = [...cards.values()].find((card) => card.node.dataset.method === method);
    if (!stays || !focused.node.contains(document.activeElement)) (after ?? seenCard).focus();
  }

  /** @param {State} state */
  function markPair(state) {
    const pair = shownPair(state, chosenIds(state, setup));
    gallery.classList.toggle("has-pair", Boolean(pair));
    for (const { node: card } of cards.values()) {
      card.classList.toggle("paired", Boolean(pair?.includes(card.dataset.id)));
    }
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "explain") return;
    if (!state.busy) askForBrief(store, setup);
    if (!state.busy) compareUnasked(state, setup);
    rebuild(state);
    gallery.style.setProperty("--aspect", mapAspect(state).toFixed(4));
    lead.draw(state);
    tools.draw(state);
    seenCard.draw(state);
    for (const card of cards.values()) card.draw(state);
    agreement.draw(state);
    markPair(state);
    layers.draw(state);
    setText(skipped, describeSkipped(state, setup));
  }

  // Work for an earlier picture or class would only keep the next one waiting.
  store.on(["busy"], ({ busy }) => busy && stopAll());
  store.effect(draw);
  return { node };
}

/**
 * Chosen methods that were left out, those with the same reason together.
 * @param {State} state
 * @param {Setup} setup
 */
function describeSkipped(state, setup) {
  const { skipped, model } = state.result;
  const lacking = leftOut(state, setup);
  const known = lacking.map(({ name }) => name);
  const names = chosenMethods(state, setup).filter((name) => name in skipped && !known.includes(name));
  const byReason = Map.groupBy(names, (name) => said(skipped[name]));
  const parts = [...byReason].map(([why, some]) =>
    t("need.skipped", { titles: list(some.map((name) => t(`method.${name}.title`))), why }),
  );
  return sentences(...describeLeftOut(model, lacking), ...parts);
}

function createReading() {
  const lines = ["scale", "point", "trust", "agree"].map((key) =>
    el("p", {}, t(`explain.reading.${key}`)),
  );
  const words = createGlossary(["class", "logit", "residual", "pin"]);
  const title = el("summary", {}, el("h3", {}, t("explain.reading")));
  return el("details", { class: "card card-reading" }, title, el("div", {}, lines, words));
}
