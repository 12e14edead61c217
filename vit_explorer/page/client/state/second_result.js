// The second result of the Compare view: another model or class on the picture, or the model on another picture.

import { t } from "../base/words.js";
import { forgetFailures } from "../server/packed.js";
import { createAnalyser } from "../server/jobs.js";
import { sendPicture } from "../server/requests.js";
import { prepareResult } from "./results.js";

/**
 * What is asked for: `wanted` is { kind: "class", "model" or "picture", name }.
 * @param {Result} result
 */
function requestFor({ place }, { kind, name }) {
  if (kind === "class") return { ...place, target: Number(name) };
  return kind === "model"
    ? { model: name, picture: place.picture, target: null }
    : { model: place.model, picture: name, target: place.target };
}

/**
 * Keep `other` of the store to `otherWanted`, whenever the first result changes.
 * @param {Pick<Context, "store" | "setup">} context
 */
export function followOther({ store, setup }) {
  let asked = "";
  let turns = 0;
  const fail = (problem) => store.set({ other: null, otherBusy: "", otherProblem: problem });
  // A file that can't be sent leaves the comparison that is shown.
  const refuse = (problem) => store.set({ otherBusy: "", otherProblem: problem });
  const analyser = createAnalyser({
    offline: () => t("state.offline"),
    onLoading: (otherBusy) => store.set({ otherBusy }),
    onError: fail,
    onResult: (result) => adopt(result, asked).catch(() => fail(t("state.offline"))),
  });

  /** @param {Result} result */
  async function adopt(result, turn) {
    const before = store.get().other ?? { result: null };
    const ready = await prepareResult(result, before);
    if (turn !== asked) return;
    forgetFailures();
    result.place = JSON.parse(turn);
    store.set({ other: ready, otherBusy: "", otherProblem: "", twin: {} });
    if (result.attention.whole)
      result.attention.data.loadAll();
  }

  /** @param {State} state */
  function follow({ tab, result, otherWanted }) {
    if (tab !== "compare" || !result || !otherWanted) return;
    const wanted = requestFor(result, otherWanted);
    const key = JSON.stringify(wanted);
    if (key === asked) return;
    asked = key;
    const name = otherWanted.label ?? otherWanted.name;
    store.set({ otherBusy: t("state.working", { name }), otherProblem: "" });
    analyser.ask(wanted);
  }

  store.on(["tab", "result", "otherWanted"], follow);

  return {
    /** Ask again for what failed, or for something else. */
    want(kind, name, label = name) {
      turns += 1;
      if (store.get().otherProblem) asked = "";
      store.set({ otherWanted: { kind, name, label } });
    },

    /** Wait no longer; what is shown stays. */
    stop() {
      analyser.stop();
      turns += 1;
      asked = "";
      store.set({ otherBusy: "", otherWanted: null, told: t("action.stopped") });
    },

    async wantFile(file) {
      if (file.size > setup.max_bytes) {
        const [size, limit] = [file.size, setup.max_bytes].map((bytes) => (bytes / 1e6).toFixed(1));
        refuse(t("picture.tooLarge", { size, limit }));
        return;
      }
      const turn = (turns += 1);
      store.set({ otherBusy: t("state.working", { name: file.name }), otherProblem: "" });
      try {
        const name = await sendPicture(file);
        if (turn === turns) this.want("picture", name, file.name);
      } catch (error) {
        if (turn === turns) refuse(error instanceof TypeError ? t("state.offline") : error.message);
      }
    },
  };
}
