// The Explain view's toolbar: the class, which maps, how they are shown, and whether they beat chance.

import { el, segmented, setText } from "../../base/dom.js";
import { targetName, told } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { analysesOf, ask, jobOf, stop } from "../../state/analyses.js";
import { shownMaps } from "../../state/chosen_maps.js";
import { createMethodChooser } from "./method_chooser.js";

const TRUST = "trust";

/** @param {Context} context */
export function createExplainTools(context) {
  const { store } = context;
  const target = el("strong");
  const share = el("span");
  const chooser = createMethodChooser(context);
  const trust = createTrustTool(context);
  const pair = (label, off, on, key) =>
    segmented(
      t(label),
      [
        [false, t(off)],
        [true, t(on)],
      ],
      (value) => store.set({ [key]: value }),
    );
  const extent = pair("explain.tool.extent", "explain.tool.crop", "explain.tool.whole", "whole");
  const scale = pair("explain.tool.scale", "explain.tool.own", "explain.tool.shared", "shared");
  const node = el(
    "div",
    { class: "toolbar" },
    el("span", { class: "tool tool-target" }, t("explain.target"), target, share),
    chooser.node,
    extent.node,
    el("span", { class: "tool" }, t("explain.tool.scale"), scale.node),
    trust.node,
  );

  /** @param {State} state */
  function draw(state) {
    const chosen = state.result.target;
    setText(target, chosen ? targetName(chosen) : t("explain.target.none"));
    setText(share, chosen ? told(chosen) : "");
    chooser.draw(state);
    extent.show(state.whole);
    scale.show(state.shared);
    trust.draw(state);
  }
  return { node, draw };
}

/**
 * One button that scores every shown map beside random ones, and stops that.
 * @param {Context} context
 */
function createTrustTool({ store, setup }) {
  const progress = createProgress(t("explain.trust.run"));
  const button = el("button", { type: "button", id: "vx-trust", title: t("explain.trust.run.title"), onclick: press });
  const failure = el("span", { class: "note", role: "status" });
  const node = el("span", { class: "tool tool-trust" }, button, progress.node, failure);

  /** @param {State} state */
  const unscored = (state) => {
    const { trust } = analysesOf(state.result);
    // A map of another stage's grid can't be ranked beside the same random maps.
    const { grid } = state.result.model;
    return shownMaps(state, setup).filter((map) => `${map.grid}` === `${grid}` && !trust?.maps[map.id]);
  };

  function press() {
    const state = store.get();
    if (jobOf(state.result, TRUST)) {
      stop(state.result, TRUST);
      return;
    }
    const names = unscored(state).map(({ id }) => id);
    if (names.length) ask(state.result, TRUST, { ask: "trust", names });
  }

  /** @param {State} state */
  function draw(state) {
    const job = jobOf(state.result, TRUST);
    const done = !job && !unscored(state).length;
    node.hidden = !state.result.target;
    progress.show(job);
    setText(button, t(job ? "action.stop" : done ? "explain.trust.done" : "explain.trust.run"));
    // The focus stays where it is when the work is done, so the button is not taken away.
    button.setAttribute("aria-disabled", String(done));
    setText(failure, job ? "" : (analysesOf(state.result).failed[TRUST] ?? ""));
  }
  return { node, draw };
}
