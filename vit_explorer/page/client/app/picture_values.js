// Which bands of a picture are shown, and which of its values become black and white.

import { el, replace } from "../base/dom.js";
import { t } from "../base/words.js";

const COLOURS = ["red", "green", "blue"];
const RULES = ["auto", "full", "minmax", "given"];

/** A form under the picture, where its values leave something to choose. */
export function createPictureValues({ store, actions }) {
  const node = el("details", { class: "picture-values", hidden: true });
  let drawn = "";

  function draw({ result }) {
    const { bands, stretch, opened } = result.picture;
    node.hidden = !bands && !stretch;
    const key = JSON.stringify([result.place.picture, bands, stretch]);
    if (node.hidden || drawn === key) return;
    drawn = key;
    const shown = bands ? COLOURS.map((colour, at) => bandChoice(colour, bands, at)) : [];
    const rule = ruleChoice(Array.isArray(opened.stretch) ? "given" : (opened.stretch ?? "auto"));
    const ends = ["low", "high"].map((end) => endChoice(end, stretch));
    const given = el("div", { class: "picture-ends", hidden: rule.value !== "given" }, ends.map(labelled));
    const apply = () => {
      given.hidden = rule.value !== "given";
      const values = ends.map(({ control }) => control.valueAsNumber);
      if (rule.value === "given" && !values.every(Number.isFinite)) return;
      actions.explainValues({
        bands: bands ? shown.map(({ control }) => Number(control.value)) : null,
        stretch: rule.value === "given" ? values : rule.value,
      });
    };
    for (const control of [...shown, ...ends].map((one) => one.control).concat(rule))
      control.addEventListener("change", apply);
    replace(
      node,
      el("summary", {}, t("picture.values")),
      bands ? el("div", { class: "picture-bands" }, shown.map(labelled)) : null,
      labelled({ words: "picture.stretch", control: rule }),
      given,
    );
  }

  store.on(["result"], draw);
  return node;
}

function bandChoice(colour, { count, shown }, at) {
  const numbers = Array.from({ length: count }, (_, band) => el("option", { value: band }, String(band + 1)));
  const control = el("select", { id: `vx-band-${colour}` }, numbers);
  control.value = String(shown[at]);
  return { words: `picture.band.${colour}`, control };
}

function ruleChoice(chosen) {
  const rules = RULES.map((rule) => el("option", { value: rule }, t(`picture.rule.${rule}`)));
  const control = el("select", { id: "vx-stretch" }, rules);
  control.value = chosen;
  return control;
}

function endChoice(end, stretch) {
  const value = stretch ? stretch[end] : "";
  const control = el("input", { type: "number", step: "any", id: `vx-stretch-${end}`, value });
  return { words: `picture.stretch.${end}`, control };
}

const labelled = ({ words, control }) => el("label", {}, el("span", {}, t(words)), control);
