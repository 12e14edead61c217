// What a reader can ask for, turned into requests: the newest choice wins, a refused one is taken back.

import { otherTheme } from "../base/theme.js";
import { t } from "../base/words.js";
import { createAnalyser } from "../server/jobs.js";
import { chooseValues, sendPicture } from "../server/requests.js";
import { placeOf } from "../state/link.js";

const megabytes = (bytes, digits) => (bytes / 1e6).toFixed(digits);

/** `adopt(result, isNewest, problem)` shows a result. */
export function createActions({ store, setup, adopt }) {
  let accepted = { picture: setup.examples[0].name, model: setup.model, target: null };
  const wanted = { ...accepted };
  let name = wanted.picture;
  let refused = "";
  let pictures = 0;
  let results = 0;

  /** `models` are what can be had instead; `again` is that of them which was asked for. */
  const fail = (problem, models = [], again = "") =>
    store.set({ busy: "", problem, instead: { of: problem, models, again } });
  const analyse = createAnalyser({
    offline: () => t("state.offline"),
    onLoading: (busy, loading) => store.set({ busy, loading }),
    onError: refuse,
    onResult: (result) => {
      accepted = { ...wanted };
      results += 1;
      const turn = results;
      const place = { model: accepted.model, picture: accepted.picture, target: accepted.target };
      adopt({ ...result, place }, () => turn === results, refused).catch(() =>
        fail(t("state.offline")),
      );
    },
  });

  function request() {
    const working = store.get().result ? t("state.working", { name }) : t("state.first");
    store.set({ busy: working, problem: refused, loading: null });
    analyse.ask({ picture: wanted.picture, model: wanted.model, target: wanted.target });
  }

  /** Take back the one choice that failed, and go on with the others. */
  function refuse(problem, part, instead = []) {
    const again = wanted.model;
    const mended = Boolean(part) && wanted[part] !== accepted[part];
    if (mended) wanted[part] = part === "target" ? null : accepted[part];
    const others = wanted.picture !== accepted.picture || wanted.model !== accepted.model;
    if (mended && (others || !store.get().result)) {
      refused = problem;
      store.set({ instead: { of: problem, models: instead, again } });
      request();
    } else {
      Object.assign(wanted, accepted);
      fail(problem, instead, again);
    }
  }

  function explain(changes, called) {
    Object.assign(wanted, changes);
    name = called;
    refused = "";
    request();
  }

  /** Another picture; one that is still being sent is then no longer wanted. */
  function explainPicture(picture, called) {
    pictures += 1;
    explain({ picture, target: null }, called);
  }

  async function explainFile(file) {
    if (file.size > setup.max_bytes) {
      const values = { size: megabytes(file.size, 1), limit: megabytes(setup.max_bytes, 0) };
      fail(t("picture.tooLarge", values));
      return;
    }
    pictures += 1;
    const turn = pictures;
    store.set({ busy: t("state.working", { name: file.name }), problem: "" });
    try {
      const picture = await sendPicture(file);
      if (turn === pictures) explainPicture(picture, file.name);
    } catch (error) {
      if (turn === pictures) fail(error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  /** The picture that is shown, by other bands or another stretch. */
  async function explainValues(choice) {
    const turn = (pictures += 1);
    store.set({ busy: t("state.working", { name }), problem: "" });
    try {
      const picture = await chooseValues(accepted.picture, choice);
      if (turn === pictures) explainPicture(picture, store.get().result.picture.name);
    } catch (error) {
      if (turn === pictures) fail(error instanceof TypeError ? t("state.offline") : error.message);
    }
  }

  function explainTarget(index, label) {
    // The predictions on the page are of the model shown: another's classes have other numbers.
    if (wanted.model === store.get().result.model.id) explain({ target: index }, label);
  }

  /** @param {string} model */
  function explainModel(model) {
    if (model) explain({ model, target: null }, model);
    else fail(t("models.empty"));
  }

  /** Keep what is shown, and take back what was asked for. */
  function stop() {
    pictures += 1;
    Object.assign(wanted, accepted);
    analyse.stop();
    store.set({ busy: "", told: t("action.stopped") });
  }

  async function copyLink() {
    try {
      const link = new URL(placeOf(store.get(), setup), location.href);
      await navigator.clipboard.writeText(link.href);
      const example = setup.examples.some((one) => one.name === accepted.picture);
      store.set({ told: t(example ? "action.linked" : "action.linked.own") });
    } catch {
      fail(t("action.link.failed")); // Forbidden, or a page without https.
    }
  }

  return {
    fail,
    stop,
    copyLink,
    tell: (told) => store.set({ told }),
    explainFile,
    explainValues,
    explainTarget,
    explainModel,
    explainExample: (example) => explainPicture(example, example),
    explainPlace: (place) => {
      pictures += 1;
      explain({ target: null, ...place }, place.picture ?? wanted.picture);
    },
    /** Begin or end presenting, on the whole screen where the browser lets a page have it. */
    present: (presenting) => {
      store.set({ presenting, slide: presenting ? 0 : store.get().slide });
      if (presenting) document.documentElement.requestFullscreen?.().catch(() => {});
      else if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    },
    chooseLanguage: (language) => store.set({ language }),
    toggleTheme: () => store.set({ theme: otherTheme(store.get().theme) }),
  };
}
