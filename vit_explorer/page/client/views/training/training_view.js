// Training: the film of how the model became what it is, and training another in the page.

import { el, setText } from "../../base/dom.js";
import { t } from "../../base/words.js";
import { fetchPacked } from "../../server/packed.js";
import { Film } from "../../state/film.js";
import { atEpoch, createFilmPlayer } from "./film_player.js";
import { createTrainer } from "./trainer.js";

const FRAME_TIME = 250;
// A reader who asked for less motion gets stills to look at, one after the other.
const CALM_FRAME_TIME = 1500;

/** @param {Context} context */
export function createTrainingView(context) {
  const { store, signal } = context;
  const player = createFilmPlayer(context);
  const trainer = createTrainer(context);
  const note = el("p", { class: "caption" });
  const missing = el(
    "div",
    { class: "card empty", hidden: true },
    el("h3", {}, t("training.film.none")),
    note,
  );
  const node = el("section", { class: "view view-training" }, player.node, missing, trainer.node);
  let timer = 0;
  let stale = true;
  // A page in another language is built anew: what plays ends with the old one.
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    store.set({ playing: false });
  });

  /**
   * Fetch the film of the model at hand, once: every move after that needs no server.
   * @param {Result} result
   */
  async function fetchFilm({ film, model }) {
    if (store.get().filmOf === model.key) return;
    store.set({ film: null, filmOf: model.key, playing: false });
    /** @type {{ key?: string, text?: string }} */
    let problem = { key: "training.film.none.why" };
    let opened = null;
    if (film.url) {
      try {
        opened = new Film(await fetchPacked(film.url));
      } catch (error) {
        problem = error instanceof TypeError ? { key: "state.offline" } : { text: error.message };
      }
    }
    if (store.get().filmOf !== model.key) return;
    store.set({ film: opened, filmProblem: opened ? null : problem, frame: 0, probe: 0 });
    if (opened) goTo(opened, store.get().epochWanted ?? opened.lastEpoch);
  }

  /**
   * Show the frame of an epoch; what a link wanted is then done.
   * @param {import("../../state/film.js").Film} film
   * @param {number} epoch
   */
  function goTo(film, epoch) {
    store.set({ ...atEpoch(film, epoch), epochWanted: null });
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "training") return;
    node.dataset.theme = state.theme; // its colours are drawn with
    fetchFilm(state.result);
    if (state.film && state.epochWanted !== null) goTo(state.film, state.epochWanted);
    const { key, text = key ? t(key) : "" } = state.filmProblem ?? {};
    setText(note, text);
    missing.hidden = !state.filmProblem;
    player.node.hidden = !state.film;
    if (state.film) player.draw(state);
    if (stale) trainer.refresh();
    stale = false;
    trainer.draw(state);
  }

  /** @param {State} state */
  function play({ tab, playing }) {
    clearInterval(timer);
    if (!playing) return;
    if (tab !== "training") {
      store.set({ playing: false });
      return;
    }
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(advance, calm ? CALM_FRAME_TIME : FRAME_TIME);
  }

  function advance() {
    const { film, frame, playing } = store.get();
    if (!playing) return;
    if (film && frame < film.frames - 1) store.set({ frame: frame + 1 });
    else store.set({ playing: false });
  }

  store.effect(draw);
  store.on(["playing", "tab"], play);
  store.on(["tab"], () => {
    stale = true;
  });
  return { node };
}
