// The menu at a figure: save it as PNG or SVG with a caption, its numbers as CSV or NPZ, copy the code.

import { csv } from "../base/csv.js";
import { childrenOf, el, placeUnder } from "../base/dom.js";
import { targetName } from "../base/outputs.js";
import { t } from "../base/words.js";
import { drawFigure, toPng } from "../maps/figure.js";
import { Refusal } from "../server/refusal.js";
import { makeNpz, writeCode } from "../server/requests.js";

/** What was asked for, and the answer: nothing yet. @type {{ wanted: string, answer: Promise<Code> }} */
const NOTHING = { wanted: "", answer: Promise.resolve({ python: "", command: null }) };

/**
 * Every part is a function of the store's state, asked when the menu's entry is chosen:
 * `title`: the figure's heading; `detail`: what the caption adds to model, target and picture, such
 * as "Layer 3"; `targeted`: whether it depends on the class, which is then named; `figure`:
 * { paint(context, width, height), aspect, bar?: { table, limits, format } }, or { svg }; `table`: rows
 * of a CSV, the names of its columns first, or what `gridTable` makes; `tabled`: whether there is one,
 * if not always; `whole`: what the NPZ has besides, as `Saved` of vit_explorer/page/payloads/downloads.py
 * names it, and `{ path, alone: true }` where that is the table already; `code`: what code is to make,
 * null where there is none, by its name and choices as vit_explorer/page/payloads/code/figures.py knows
 * them. An entry is not offered where its part is left out. `name` is what its files are called, which
 * may depend on what is shown.
 * @param {Context} context
 * @param {string | ((state: State) => string)} name
 */
export function createFigureMenu({ store, actions }, name, parts) {
  const entries = {
    png: async (state) => save(await toPng(makeSvg(state)), "png"),
    svg: (state) => save(new Blob([makeSvg(state).text], { type: "image/svg+xml" }), "svg"),
    csv: (state) => save(new Blob([csv(rowsOf(parts.table(state)))], { type: "text/csv" }), "csv"),
    npz: async (state) => save(await makeNpz(state.result, savedOf(state)), "npz"),
    python: (state) => copy("python", state),
    command: (state) => copy("command", state),
  };
  const needs = {
    png: "figure",
    svg: "figure",
    csv: "table",
    npz: "table",
    python: "code",
    command: "code",
  };
  const offered = Object.keys(entries).filter((entry) => parts[needs[entry]]);
  let asked = NOTHING;
  const box = el(
    "div",
    { class: "figure-menu", popover: "auto", role: "group", "aria-label": t("figure.menu") },
    offered.map((entry) =>
      el(
        "button",
        { type: "button", dataset: { save: entry }, onclick: () => choose(entry) },
        t(`figure.${entry}`),
      ),
    ),
  );
  const button = el(
    "button",
    {
      type: "button",
      class: "figure-button",
      "aria-label": t("figure.menu"),
      title: t("figure.menu"),
      "aria-haspopup": "true",
      onclick: prepare,
    },
    "⤓",
  );
  button.popoverTargetElement = box; // the browser opens it and, at the second press, closes it
  box.addEventListener("toggle", ({ newState }) => {
    if (newState === "open") box.querySelector("button")?.focus();
  });

  function prepare() {
    if (!box.isConnected) button.after(box);
    placeUnder(box, button);
    const state = store.get();
    const tabled = parts.tabled?.(state) ?? true;
    const coded = Boolean(parts.code?.(state));
    // Whether there is a command comes with the answer.
    const missing = { csv: !tabled, npz: !tabled, python: !coded, command: true };
    for (const entry of childrenOf(box)) entry.hidden = Boolean(missing[entry.dataset.save]);
    if (coded) offerCommand(askCode(state));
    else forget();
  }

  function forget() {
    asked = NOTHING;
    box.removeAttribute("aria-busy");
  }

  /** @param {Promise<Code>} answer */
  async function offerCommand(answer) {
    box.setAttribute("aria-busy", "true");
    const { command } = await answer.catch(() => ({ command: null }));
    if (asked.answer !== answer) return; // another state's menu was opened since
    box.removeAttribute("aria-busy");
    for (const entry of childrenOf(box))
      if (entry.dataset.save === "command") entry.hidden = command === null;
    placeUnder(box, button);
  }

  /**
   * The code of what is shown, asked for once: as the menu opens, so that it is there to be copied.
   * @param {State} state
   */
  function askCode(state) {
    const order = parts.code(state);
    const wanted = JSON.stringify([state.result.key, order]);
    if (asked.wanted !== wanted) {
      const now = { wanted, answer: writeCode(state.result, order) };
      now.answer.catch(() => (now.wanted = "")); // may be asked for again
      asked = now;
    }
    return asked.answer;
  }

  async function choose(entry) {
    box.hidePopover();
    button.focus();
    try {
      await entries[entry](store.get());
    } catch (error) {
      actions.fail(error instanceof Refusal ? error.message : t("figure.failed"));
      throw error;
    }
  }

  /** @param {State} state */
  function makeSvg(state) {
    return drawFigure(parts.figure(state), {
      title: parts.title(state),
      lines: captionLines(state, parts.detail?.(state), parts.targeted?.(state)),
    });
  }

  /** @param {State} state */
  const nameOf = (state) => (typeof name === "function" ? name(state) : name);

  /**
   * The numbers of the CSV, and what they are of.
   * @param {State} state
   */
  function savedOf(state) {
    const { path, alone } = parts.whole?.(state) ?? { path: "", alone: false };
    return {
      figure: nameOf(state),
      title: parts.title(state),
      shows: parts.detail?.(state) ?? "",
      targeted: Boolean(parts.targeted?.(state)),
      ...(alone ? { columns: [], rows: [], grid: null } : tableOf(parts.table(state))),
      whole: path,
    };
  }

  function save(blob, ending) {
    const url = URL.createObjectURL(blob);
    const state = store.get();
    follow(url, `${fileStem(state)}-${nameOf(state)}.${ending}`);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  /**
   * @param {"python" | "command"} entry
   * @param {State} state
   */
  async function copy(entry, state) {
    const answer = askCode(state);
    const type = "text/plain";
    // Browsers let a page write while its reader presses a button; what to write may come later.
    const text = answer.then((code) => new Blob([code[entry] ?? ""], { type }));
    try {
      await navigator.clipboard.write([new ClipboardItem({ [type]: text })]);
    } catch (error) {
      await answer; // why there is none
      throw error;
    }
    actions.tell(t("figure.copied"));
  }

  return button;
}

function follow(href, download = "") {
  el("a", { href, download }).click();
}

/**
 * Model, target and picture of what is shown; then what the figure itself adds, and the version.
 * @param {State} state
 */
function captionLines({ result }, detail, targeted) {
  const { model, target, picture, version } = result;
  const aim = targeted && target ? t("figure.target", { label: targetName(target) }) : "";
  const what = [detail, aim].filter(Boolean).join(" · ");
  return [what, `${model.name} · ${picture.name} · ViT Explorer ${version}`].filter(Boolean);
}

/** @param {State} state */
function fileStem({ result }) {
  return result.picture.name.replace(/\.\w+$/, "").replace(/[^\w-]+/g, "_") || "picture";
}

/** @param {any} given a figure's `table` */
const rowsOf = (given) => (Array.isArray(given) ? given : [given.columns, ...given.rows]);

/** @param {any} given */
const tableOf = (given) => {
  if (!Array.isArray(given)) return given;
  const [columns, ...rows] = given;
  return { columns, rows, grid: null };
};

/**
 * What a canvas shows, as a `figure`; its cells stay sharp.
 * @param {HTMLCanvasElement} canvas
 */
export const canvasFigure = (canvas) => ({
  paint: (context, width, height) => {
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, width, height);
  },
  aspect: canvas.width / canvas.height,
});

/**
 * Values of a grid for `table`: row, column and value a line, counted from 1; an NPZ has them as one
 * array of the grid's shape, under their name.
 * @param {Numbers} values
 * @param {Pair} grid
 * @param {string} name
 */
export function gridTable(values, grid, name) {
  const rows = Array.from(values, (value, at) => [
    Math.floor(at / grid[1]) + 1,
    (at % grid[1]) + 1,
    value,
  ]);
  return { columns: ["row", "column", name], rows, grid };
}
