// The two curves behind a verdict, beside those of random maps, and what they mean.

import { el } from "../../base/dom.js";
import { fixed, short } from "../../base/format.js";
import { isValued, twinOf } from "../../base/outputs.js";
import { said, t } from "../../base/words.js";
import { drawBundle } from "../../charts/bundle.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { analysesOf } from "../../state/analyses.js";
import { mapTitle } from "../../state/chosen_maps.js";

/**
 * Two digits are what twenty random maps can tell apart; values may be of any size.
 * @param {Model} model
 */
export const worthOf = (model) => (isValued(model) ? short : (value) => fixed(value, 2));

/**
 * Open the dialog on one map's score; Esc or the button closes it.
 * @param {Context} context
 */
export function openTrust(context, trust, id) {
  const score = trust.maps[id];
  const worth = worthOf(context.store.get().result.model);
  const title = mapTitle(id);
  const gain = (one) => worth(one.insertion - one.deletion);
  const differs = analysesOf(context.store.get().result).differ[id];
  const values = { title, gain: gain(score), random: gain(trust.random), middle: gain(trust.middle) };
  const dialog = el(
    "dialog",
    { class: "trust-dialog", "aria-labelledby": "vx-trust-title", onclose: () => dialog.remove() },
    el("h2", { id: "vx-trust-title" }, t("explain.trust.title", { title })),
    el("p", {}, t(`explain.trust.${score.verdict}.text`, { beats: score.beats, of: trust.of, title })),
    el(
      "div",
      { class: "trust-curves" },
      createCurve(context, "insertion", { score, trust, id }),
      createCurve(context, "deletion", { score, trust, id }),
    ),
    el("p", { class: "note" }, t(`explain.trust.gain${twinOf(context.store.get().result.model)}`, values)),
    differs ? el("p", { class: "note differs" }, said(differs)) : null,
    el("p", { class: "note" }, t(`explain.trust.beware.${trust.protocol}`)),
    el("button", { type: "button", onclick: () => dialog.close() }, t("action.close")),
  );
  document.querySelector(".vx").append(dialog);
  dialog.showModal();
}

/** @param {Context} context */
function createCurve(context, kind, { score, trust, id }) {
  const curves = trust.random[`${kind}_curves`];
  const own = score[`${kind}_curve`];
  const { model } = context.store.get().result;
  const worth = worthOf(model);
  const text = t(`explain.trust.curve${twinOf(model)}`, {
    kind: t(`explain.trust.${kind}`),
    area: worth(score[kind]),
    random: worth(trust.random[kind]),
  });
  const axis = t(`explain.trust.${kind}.axis`);
  const plot = drawBundle({ own, others: curves, valued: isValued(model), axis, text });
  const menu = createFigureMenu(context, `${id}-${kind}`, {
    title: () => `${t(`explain.trust.${kind}`)} · ${mapTitle(id)}`,
    targeted: () => true,
    figure: () => ({
      svg: plot,
      keys: [
        [".own-curve", `${mapTitle(id)} ${worth(score[kind])}`],
        [".random-curve", t("explain.trust.random", { value: worth(trust.random[kind]) })],
      ],
    }),
    table: () => [
      ["share", id, ...curves.map((_, index) => `random ${index + 1}`)],
      ...own.map((value, at) => [at / (own.length - 1), value, ...curves.map((curve) => curve[at])]),
    ],
  });
  return el(
    "figure",
    {},
    el("h3", {}, t(`explain.trust.${kind}`), el("small", {}, worth(score[kind])), menu),
    plot,
    el("figcaption", { class: "note" }, t(`explain.trust.${kind}.text.${trust.protocol}`)),
  );
}
