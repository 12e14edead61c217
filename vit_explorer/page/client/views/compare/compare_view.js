// Compare: two models or two classes on one picture, or one model on two pictures, with one pointer for all.

import { el, replace, segmented, setText } from "../../base/dom.js";
import { percent } from "../../base/format.js";
import { list, t } from "../../base/words.js";
import { createChooser } from "../../controls/number_tables.js";
import { createTwin } from "../../state/mirrored_store.js";
import { comparable, sharedLimits } from "./compare_scale.js";
import { ofPatches, PATCH_PARTS } from "./compare_patches.js";
import { createClassMenu, differenceStore, ofClasses } from "./compare_class.js";
import { createSide, mapOf } from "./compare_side.js";
import { withChanges } from "../../state/store.js";

const PARTS = ["map", "attention", "positions", ...PATCH_PARTS];
const KINDS = ["class", "model", "picture"];

/** @param {Context} context */
export function createCompareView(context) {
  const { store } = context;
  const twin = createTwin(store);
  const chooser = createSecond(context);
  const tools = createTools(store);
  const first = createSide(context, methodStore(store), { label: t("compare.first"), name: "first" });
  const second = createSide(context, methodStore(twin), { label: t("compare.second"), name: "second" });
  const difference = createSide(context, methodStore(differenceStore(store)), { label: t("compare.difference"), name: "difference" });
  const empty = createEmpty();
  const scale = el("p", { class: "note compare-scale" });
  const sides = el("div", { class: "compare-sides" }, first.node, second.node, difference.node, empty.node);
  const node = el("section", { class: "view view-compare" }, chooser.node, tools.node, sides, scale);

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "compare") return;
    const both = Boolean(state.other);
    chooser.show(state);
    node.setAttribute("aria-busy", String(Boolean(state.otherBusy)));
    second.node.hidden = !both;
    second.node.classList.toggle("stale", both && Boolean(state.otherBusy));
    const classes = both && ofClasses(state) && state.comparePart === "map";
    difference.node.hidden = !classes;
    difference.node.classList.toggle("stale", classes && Boolean(state.otherBusy));
    sides.classList.toggle("three", classes);
    empty.node.hidden = both;
    empty.show(state);
    needRows(store, state.result, store.get());
    if (both) needRows(store, state.other.result, twin.get());
    const [one, two] = [methodStore(store), methodStore(twin)].map((side) => mapOf(side.get(), state));
    tools.show(state, twin.get(), comparable(one, two));
    const limits = sharedLimits(one, two, state.compareShared);
    first.draw(limits?.[0] ?? null);
    if (both) second.draw(limits?.[1] ?? null);
    if (classes) difference.draw(null);
    setText(scale, both && one && two ? t(`compare.scale.${scaleOf(one, two, state)}`, sharesOf(one)) : "");
  }

  store.effect(draw);
  return { node };
}

/**
 * The store with a method chosen: the first that the result has, until the reader takes another.
 * @param {Store} store
 */
function methodStore(store) {
  const get = () => {
    const state = store.get();
    if (!state.result || state.compareMethod) return state;
    return withChanges(state, { compareMethod: state.result.maps[0]?.name ?? "" });
  };
  return { ...store, get };
}

/** Which scale both sides have, for the sentence under them. */
function scaleOf(one, two, { compareShared }) {
  if (one.components) return "components";
  if (!comparable(one, two)) return "logits";
  if (!compareShared) return "own";
  return one.unit === "share" ? "even" : "shared";
}

/**
 * How much of all variance the components hold that are shown as colours.
 * @param {import("./compare_scale.js").SideMap} map
 */
const sharesOf = ({ components }) => ({ shares: list((components?.explained ?? []).map(percent)) });

/**
 * Where whole layers don't come by themselves, the chosen token's rows are fetched.
 * @param {Store} store
 * @param {Result} result
 * @param {State} state
 */
function needRows(store, { attention }, { comparePart, pinned, hover }) {
  if (attention.whole || comparePart !== "attention") return;
  attention.data.loadQuery(hover ?? pinned);
}

/**
 * Which second thing to set beside the first: a model by its name, or a picture.
 * @param {Context} context
 */
function createSecond({ store, setup, actions }) {
  const kind = segmented(
    t("compare.kind"),
    KINDS.map((name) => [name, t(`compare.kind.${name}`)]),
    // What is no map is the same for every class.
    (otherKind) => store.set({ otherKind, ...(otherKind === "class" ? { comparePart: "map" } : {}) }),
  );
  const model = el("input", {
    id: "vx-other-model",
    list: "vx-models",
    spellcheck: "false",
    autocomplete: "off",
    placeholder: t("models.hint"),
    title: t("models.hint.long"),
    "aria-label": t("compare.model"),
  });
  const form = el(
    "form",
    {
      class: "model-form",
      onsubmit: (event) => {
        event.preventDefault();
        const name = model.value.trim();
        if (name) actions.other.want("model", name);
        else actions.fail(t("models.empty"));
      },
    },
    model,
    el("button", {}, t("compare.load")),
  );
  const classes = createClassMenu({ store, actions });
  const file = el("input", {
    type: "file",
    id: "vx-other-file",
    accept: "image/*",
    class: "visually-hidden",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: () => {
      const [chosen] = file.files;
      if (chosen) actions.other.wantFile(chosen);
      file.value = "";
    },
  });
  const examples = setup.examples.map(({ name, url }) =>
    el(
      "button",
      {
        type: "button",
        dataset: { picture: name },
        "aria-label": t("compare.picture", { name }),
        onclick: () => actions.other.want("picture", name),
      },
      el("img", { src: new URL(url, document.baseURI).href, alt: "" }),
    ),
  );
  const pictures = el(
    "div",
    { class: "compare-pictures" },
    examples,
    el("button", { type: "button", onclick: () => file.click() }, t("action.choose")),
    file,
  );
  const doing = el("span", { role: "status" });
  const stop = el("button", { type: "button", onclick: actions.other.stop }, t("action.stop"));
  const waiting = el("div", { class: "compare-waiting" }, doing, stop);
  const node = el("div", { class: "toolbar compare-choice" }, kind.node, classes.node, form, pictures, waiting);

  /** @param {State} state */
  function show(state) {
    const { otherKind, otherWanted, otherBusy } = state;
    kind.show(otherKind);
    setText(doing, otherBusy);
    waiting.style.visibility = otherBusy ? "visible" : "hidden";
    classes.node.hidden = otherKind !== "class";
    classes.show(state);
    form.hidden = otherKind !== "model";
    pictures.hidden = otherKind !== "picture";
    const chosen = otherWanted?.kind === "model" ? otherWanted.name : "";
    if (chosen && !model.value && document.activeElement !== model) model.value = chosen;
    for (const button of examples) {
      const here = otherWanted?.kind === "picture" && otherWanted.name === button.dataset.picture;
      button.setAttribute("aria-pressed", String(here));
    }
  }
  return { node, show };
}

/**
 * What both sides show: a method's map, attention, or positions.
 * @param {Store} store
 */
function createTools(store) {
  const part = segmented(
    t("compare.part"),
    PARTS.map((name) => [name, t(`compare.part.${name}`)]),
    (comparePart) => store.set({ comparePart }),
  );
  const method = el("select", {
    "aria-label": t("compare.method"),
    onchange: () => store.set({ compareMethod: method.value }),
  });
  const chooser = createChooser(store, { together: true });
  const layers = createChooser(store, { heads: false });
  const scale = segmented(
    t("compare.scale"),
    [true, false].map((value) => [value, t(`compare.scale.choose.${value}`)]),
    (compareShared) => store.set({ compareShared }),
  );
  const scales = el("span", { class: "tool" }, t("compare.scale"), scale.node);
  const node = el("div", { class: "toolbar compare-tools" }, part.node, method, chooser.node, layers.node, scales);
  let listed = "";

  /**
   * `twin`: the second side's state; `scaled`: whether both can stand on one scale.
   * @param {State} state
   * @param {State} twin
   * @param {boolean} scaled
   */
  function show(state, twin, scaled) {
    part.show(state.comparePart);
    scales.hidden = !scaled;
    scale.show(state.compareShared);
    method.hidden = state.comparePart !== "map";
    chooser.node.hidden = state.comparePart !== "attention";
    chooser.show(state, twin);
    layers.node.hidden = !ofPatches(state.comparePart);
    layers.show(state, twin);
    const results = [state.result, state.other?.result].filter(Boolean);
    const names = [...new Set(results.flatMap(({ maps }) => maps.map(({ name }) => name)))];
    if (listed !== `${names}`)
      replace(
        method,
        names.map((name) => el("option", { value: name }, t(`method.${name}.title`))),
      );
    listed = `${names}`;
    method.value = state.compareMethod || state.result.maps[0]?.name;
  }
  return { node, show };
}

/** The second side while there is nothing in it: what to choose, what is awaited, or what failed. */
function createEmpty() {
  const text = el("p", { role: "alert" });
  const bone = el("div", { class: "bone" });
  const title = el("h3");
  const node = el("div", { class: "compare-empty" }, title, text, bone);

  /** @param {State} state */
  function show({ otherBusy, otherProblem, otherKind }) {
    const kind = otherProblem ? "problem" : otherBusy ? "busy" : "empty";
    node.dataset.kind = kind;
    setText(title, t(`compare.${kind}`));
    setText(text, otherProblem || otherBusy || t(`compare.empty.${otherKind}`));
    bone.hidden = kind !== "busy";
  }
  return { node, show };
}
