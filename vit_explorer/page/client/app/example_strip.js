// The pictures that ship with the page; what the shown model gets wrong is marked.

import { nameOf } from "../base/class_names.js";
import { el } from "../base/dom.js";
import { t } from "../base/words.js";
import { readJudged } from "../server/requests.js";

/** @param {Omit<Context, "signal">} context */
export function createExampleStrip({ store, setup, actions }) {
  const buttons = new Map(setup.examples.map((one) => [one.name, createExample(one, actions)]));
  let marked = "";

  function mark(judged) {
    for (const [name, button] of buttons) {
      const said = judged[name];
      const wrong = said?.right === false;
      button.classList.toggle("wrong", wrong);
      const values = { name, label: wrong ? nameOf(said.label) : "" };
      button.title = wrong ? t("picture.example.wrong", values) : name;
      button.setAttribute("aria-label", t("picture.example", values));
      if (wrong) button.setAttribute("aria-description", button.title);
      else button.removeAttribute("aria-description");
    }
  }

  // After the picture that was asked for: the marks can wait for it.
  store.on(["result"], async ({ result: { model } }) => {
    if (marked === model.key) return;
    marked = model.key;
    mark({});
    if (!model.judged) return;
    const judged = await readJudged(model.judged).catch(() => ({}));
    if (marked === model.key) mark(judged);
  });
  return el(
    "div",
    { class: "examples", role: "group", "aria-label": t("picture.examples") },
    [...buttons.values()],
  );
}

/**
 * @param {any} values
 * @param {Actions} actions
 */
function createExample({ name, url }, actions) {
  return el(
    "button",
    {
      type: "button",
      title: name,
      "aria-label": t("picture.example", { name }),
      onclick: () => actions.explainExample(name),
    },
    el("img", { src: url, alt: "", width: "56", height: "42" }),
  );
}
