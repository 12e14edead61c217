// The Explain view's toolbar: the class, which maps, how they are shown, and whether they beat chance.

import { el, segmented, setText } from "../../base/dom.js";
import { targetName, told } from "../../base/outputs.js";
import { t } from "../../base/words.js";
import { createProgress } from "../../controls/progress.js";
import { analysesOf, jobOf, stop } from "../../state/analyses.js";
import { TRUST, compareWithChance, protocolOf, unscored } from "../../state/trust.js";
import { createMethodChooser } from "./method_chooser.js";

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
 * One button that scores every shown map beside random ones, and stops that; and by which protocol.
 * @param {Context} context
 */
function createTrustTool({ store, setup }) {
  const progress = createProgress(t("explain.trust.run"));
  const button = el("button", { type: "button", id: "vx-trust", title: t("explain.trust.run.title"), onclick: press });
  const failure = el("span", { class: "note", role: "status" });
  const how = segmented(
    t("explain.trust.protocol"),
    ["tokens", "pixels"].map((name) => [name, t(`explain.trust.${name}`)]),
    (protocol) => store.set({ protocol }),
  );
  const node = el("span", { class: "tool tool-trust" }, progress.node, failure, how.node, button);

  function press() {
    const state = store.get();
    if (jobOf(state.result, TRUST)) stop(state.result, TRUST);
    else compareWithChance(state, setup);
  }

  /** @param {State} state */
  function label(state) {
    const names = unscored(state, setup);
    if (jobOf(state.result, TRUST)) return t("action.stop");
    if (!names.length) return t("explain.trust.done");
    const seconds = analysesOf(state.result).seconds[protocolOf(state)];
    return seconds ? t("explain.trust.takes", { seconds: Math.ceil(seconds) }) : t("explain.trust.run");
  }

  /** @param {State} state */
  function draw(state) {
    const { result } = state;
    const job = jobOf(result, TRUST);
    node.hidden = !result.target;
    progress.show(job);
    how.node.hidden = result.model.protocols.length < 2;
    how.show(protocolOf(state));
    setText(button, label(state));
    // The focus stays where it is when the work is done, so the button is not taken away.
    button.setAttribute("aria-disabled", String(!job && !unscored(state, setup).length));
    setText(failure, job ? "" : (analysesOf(result).failed[TRUST] ?? ""));
  }
  return { node, draw };
}
