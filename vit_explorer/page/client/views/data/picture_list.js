// The pictures that the filters let through: only those in the window are in the page.

import { nameOf } from "../../base/class_names.js";
import { el, keepSize, replace } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { askMaps, modelOfSet, shownPlaces, stopDataJob, thumbnailOf } from "../../state/data_set.js";
import { takePicture } from "../../server/requests.js";

// In rem; with a verdict a card has up to three lines more.
const ROW = 6.5;
const JUDGED_ROW = 10.5;
const NARROWEST = 15; // as data.css has it
const BEYOND = 2; // rows above and below the window

/** @param {Context} context */
export function createPictureList(context) {
  const { store, actions } = context;
  const ask = el("button", { type: "button", onclick: () => askMaps(context, inWindow) }, t("data.maps.ask"));
  const stop = el("button", { type: "button", onclick: () => stopDataJob(store) }, t("data.stop"));
  const progress = createProgress(t("data.looks.progress"), "data.progress");
  const rows = el("div", { class: "data-rows" });
  const room = el("div", { class: "data-room", role: "list", "aria-label": t("data.list") }, rows);
  const scroll = el("div", { class: "data-scroll", tabindex: "0", onscroll: () => show(store.get()) }, room);
  const none = el("p", { class: "note", hidden: true }, t("data.list.none"));
  const head = el("div", { class: "data-open-head" }, el("h3", {}, t("data.list")), ask, stop, progress.node);
  const node = el("div", { class: "card data-card data-list" }, head, none, scroll);
  const size = keepSize(scroll, () => store.get().dataSet && show(store.get()));
  let before = null;
  let drawn = "";
  let maps = new Map();
  /** @type {number[]} */
  let inWindow = [];
  /** @type {Map<number, HTMLElement>} what is in the page, by the pictures' places */
  let cards = new Map();

  /** @param {State} state */
  function show(state) {
    const places = shownPlaces(state);
    if (places !== before) scroll.scrollTop = 0;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const columns = Math.max(1, Math.floor(size.width / (NARROWEST * rem)));
    const row = state.dataMaps.size ? JUDGED_ROW : ROW;
    const height = row * rem;
    const count = Math.ceil(places.length / columns);
    room.style.height = `${count * height}px`;
    none.hidden = places.length > 0;
    const first = Math.max(0, Math.floor(scroll.scrollTop / height) - BEYOND);
    const last = Math.min(count, Math.ceil((scroll.scrollTop + size.height) / height) + BEYOND);
    const top = Math.floor(scroll.scrollTop / height);
    inWindow = [...places.subarray(top * columns, Math.ceil((scroll.scrollTop + size.height) / height) * columns)];
    const key = [state.dataSet.key, columns, first, last].join();
    if (maps !== state.dataMaps) {
      // A card is made anew where its map has come.
      for (const place of [...cards.keys()]) if (maps.get(place) !== state.dataMaps.get(place)) cards.delete(place);
      [maps, drawn] = [state.dataMaps, ""];
    }
    if (places === before && key === drawn) return;
    if (places !== before) cards = new Map();
    [before, drawn] = [places, key];
    rows.style.transform = `translateY(${first * height}px)`;
    rows.style.setProperty("--columns", String(columns));
    rows.style.setProperty("--row", `${row}rem`);
    const seen = places.subarray(first * columns, last * columns);
    const here = cards;
    cards = new Map();
    seen.forEach((place, at) => {
      cards.set(place, here.get(place) ?? card(state, place, first * columns + at, places.length));
    });
    replace(rows, [...cards.values()]);
  }

  function card({ dataSet, dataMaps }, place, at, whole) {
    const { classes, labels, predicted, probability, pictures } = dataSet.table;
    const [label, taken] = [nameOf(classes[labels[place]]), nameOf(classes[predicted[place]])];
    const right = labels[place] === predicted[place];
    const map = dataMaps.get(place);
    const picture = dataSet.pictures
      ? el("img", { src: map?.image ?? thumbnailOf(dataSet, place), alt: "", loading: "lazy", decoding: "async" })
      : el("span", { class: "data-missing" });
    const words = right
      ? t("data.right", { label })
      : t("data.wrong", { label, predicted: taken });
    const open = el("button", { type: "button", onclick: () => explain(place) }, t("data.explain"));
    open.hidden = !dataSet.pictures;
    return el(
      "div",
      {
        class: right ? "data-picture" : "data-picture wrong",
        role: "listitem",
        "aria-setsize": whole,
        "aria-posinset": at + 1,
        dataset: { place: String(place) },
      },
      picture,
      el(
        "div",
        {},
        el("strong", {}, words),
        el("span", {}, percent(probability[place])),
        map && verdict(map),
        el("span", { class: "data-name", title: pictures[place] }, pictures[place]),
        open,
      ),
    );
  }

  /** @param {DataMap} map */
  function verdict({ method, beats, of, verdict: kind }) {
    const title = t(`method.${method}.title`);
    return el("span", { class: "data-verdict", dataset: { verdict: kind } }, `${title}: ${t(`verdict.${kind}`, { beats, of })}`);
  }

  /** Load a picture into the explorer, with the model that judged it. */
  async function explain(place) {
    const state = store.get();
    try {
      const picture = await takePicture(`${state.dataSet.key}/pictures/${place}`);
      actions.explainPlace({ picture, model: modelOfSet(state) });
      store.set({ tab: "explain" });
    } catch (error) {
      actions.fail(error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  /** @param {State} state */
  function draw(state) {
    const { dataSet, dataJob } = state;
    const working = dataJob?.what === "maps";
    ask.hidden = !dataSet.pictures;
    ask.disabled = Boolean(dataJob);
    stop.hidden = !working;
    progress.show(working ? dataJob : null);
    show(state);
  }
  return { node, draw };
}
