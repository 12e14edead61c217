// What if: patches painted away and heads switched off, and what the prediction becomes.

import { nameOf } from "../../base/class_names.js";
import { el, segmented, setText } from "../../base/dom.js";
import { lacks, whyNot } from "../../base/lacks.js";
import { isValued, targetName, writerOf } from "../../base/outputs.js";
import { sentences, t } from "../../base/words.js";
import { createFigureMenu } from "../../controls/figure_menu.js";
import { cropAspect } from "../../maps/picture.js";
import { editCode } from "../../state/code_orders.js";
import { answerTo, changeOf, createAsker } from "../../state/edit_answers.js";
import { change, isPlain, redo, reset, undo } from "../../state/edits.js";
import { createHeadSwitches } from "./head_switches.js";
import { createPaintCanvas } from "./paint_canvas.js";
import { createRemoval } from "./removal.js";
import { createShifts, way } from "./shifts.js";
import { withChanges } from "../../state/store.js";

const BRUSHES = [1, 3, 5];

/** @param {Context} context */
export function createWhatIfView(context) {
  const { store } = context;
  const tools = createTools(store);
  const canvas = createPaintCanvas(context);
  const shifts = createShifts();
  const says = el("p", { class: "says", "aria-live": "polite" });
  const heads = createHeadSwitches(context);
  const removal = createRemoval(context);
  const menu = createFigureMenu(context, "what-if", {
    title: () => says.textContent,
    targeted: () => true,
    figure: (state) => ({ paint: pictureOf(state), aspect: cropAspect(state.result) }),
    table: (state) => [
      ["class", "label", "before", "after"],
      ...answerTo(state, changeOf(state)).value.rows.map((row) => Object.values(row)),
    ],
    code: (state) => ({ figure: "change", patches: state.edit.patches, ...editCode(state) }),
  });
  const none = el(
    "div",
    { class: "card empty", hidden: true },
    el("h3", {}, t("whatif.none")),
    el("p", { class: "caption" }, t("whatif.none.why")),
  );
  const headsPart = part([t("whatif.heads")], t("whatif.heads.help"), heads.node);
  const whyNoHeads = el("p", { class: "note" });
  const noHeads = el("div", { class: "whatif-part" }, el("h3", {}, t("whatif.heads")), whyNoHeads);
  const body = el(
    "div",
    { class: "split" },
    el(
      "div",
      { class: "stage" },
      canvas.node,
      headsPart,
      noHeads,
    ),
    el(
      "div",
      { class: "side" },
      part([t("whatif.prediction"), menu], t("whatif.prediction.help"), says, shifts.node),
      part([t("whatif.remove"), removal.menu], "", removal.node),
    ),
  );
  const node = el("section", { class: "view view-whatif", dataset: { look: "none" } }, none, tools.node, body);
  const ask = createAsker(context, (state) =>
    state.tab === "whatif" && state.result?.target ? changeOf(state) : null,
  );

  /** @param {State} state */
  const pictureOf = (state) => (target, width, height) =>
    canvas.paint(target, width, height, withChanges(state, { hover: null }));

  /** @param {State} state */
  function describe(state, { rows, target, first }) {
    if (isPlain(state.edit))
      return t(lacks(state.result, "attention") ? "whatif.start.patches" : "whatif.start");
    const write = writerOf(state.result.model);
    const aim = rows.find(({ index }) => index === target);
    const values = { label: nameOf(aim.label), before: write(aim.before), after: write(aim.after) };
    const cause = causeOf(state);
    const moved = t(`whatif.says.${way(aim)}`, { cause, ...values });
    const { grid } = state.result.model;
    const blind = state.edit.patches.length === grid[0] * grid[1];
    const turned = blind ? sentences(moved, t("whatif.blind")) : moved;
    if (first === target) return turned;
    const best = rows.find(({ index }) => index === first);
    const share = write(best.after);
    return sentences(turned, t("whatif.first", { label: nameOf(best.label), share }));
  }

  /** @param {State} state */
  function draw(state) {
    if (!state.result || state.tab !== "whatif") return;
    node.dataset.theme = state.theme; // its colours are drawn with
    const { target } = state.result;
    none.hidden = Boolean(target);
    body.hidden = tools.node.hidden = !target;
    if (!target) return;
    node.style.setProperty("--aspect", cropAspect(state.result).toFixed(4));
    tools.draw(state);
    headsPart.hidden = lacks(state.result, "attention");
    noHeads.hidden = !headsPart.hidden;
    if (headsPart.hidden) setText(whyNoHeads, whyNot(state.result.model, "attention"));
    else heads.draw(state);
    removal.draw(state);
    const answer = answerTo(state, changeOf(state));
    shifts.node.classList.toggle("waiting", !answer);
    menu.hidden = !answer?.value;
    shifts.node.hidden = Boolean(answer?.error);
    if (answer?.error) setText(says, answer.error);
    if (answer?.value) {
      const { model } = state.result;
      const value = inWords(answer.value, target);
      shifts.draw(value, { write: writerOf(model), barred: !isValued(model) });
      setText(says, describe(state, value));
    }
    ask();
  }

  store.effect(draw);
  // What follows the pointer is drawn by itself.
  store.effect(({ result, tab }) => {
    if (result?.target && tab === "whatif") canvas.draw();
  });
  return { node };
}

/** An answer with what is followed by its name on the page. */
function inWords(answer, target) {
  const named = (row) => (row.index === target.index ? { ...row, label: targetName(target) } : row);
  return { ...answer, rows: answer.rows.map(named) };
}

function part(title, help, ...content) {
  const note = help ? el("p", { class: "note" }, help) : null;
  return el("div", { class: "whatif-part" }, el("h3", {}, ...title), note, ...content);
}

/**
 * What was done, as the beginning of a sentence.
 * @param {State} state
 */
function causeOf({ edit, result }) {
  const [patches, heads] = [edit.patches.length, edit.heads.length];
  const gone =
    patches === 1 ? t("whatif.gone.patch") : t("whatif.gone.patches", { count: patches });
  const off = heads === 1 ? t("whatif.off.head") : t("whatif.off.heads", { count: heads });
  if (patches && heads) return t("whatif.cause.both", { gone, off });
  if (patches === 1) return t("whatif.cause.patch");
  if (patches) {
    const all = patches === result.model.grid[0] * result.model.grid[1];
    return all ? t("whatif.cause.all") : t("whatif.cause.patches", { count: patches });
  }
  return t("whatif.cause.off", { off });
}

/** @param {Store} store */
function createTools(store) {
  const brush = segmented(
    t("whatif.brush"),
    BRUSHES.map((size) => [size, t("whatif.brush.size", { size })]),
    (size) => store.set({ brush: size }),
  );
  const how = segmented(
    t("whatif.how"),
    [
      ["drop", t("whatif.drop")],
      ["grey", t("whatif.grey")],
    ],
    (choice) => change(store, { how: choice }),
  );
  const button = (key, act) =>
    el(
      "button",
      { type: "button", dataset: { act: key }, onclick: () => act(store) },
      t(`whatif.${key}`),
    );
  const back = button("undo", undo);
  const again = button("redo", redo);
  const all = button("reset", reset);
  const help = el("span", { class: "note how-help" });
  const ways = el("span", { class: "tool" }, t("whatif.how"), how.node);
  const node = el(
    "div",
    { class: "toolbar" },
    el("span", { class: "tool" }, t("whatif.brush"), brush.node),
    ways,
    el("span", { class: "tool" }, back, again, all),
    help,
  );

  /** @param {State} state */
  function draw({ brush: size, edit, editPast, editFuture, result }) {
    brush.show(size);
    ways.hidden = lacks(result, "tokens");
    how.show(edit.how);
    back.disabled = !editPast.length;
    again.disabled = !editFuture.length;
    all.disabled = isPlain(edit);
    setText(help, t(`whatif.how.${edit.how}`));
  }
  return { node, draw };
}
