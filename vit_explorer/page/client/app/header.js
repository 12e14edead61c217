// The header: which model on which device, what was detected, and what is done with it all.

import { el, setText } from "../base/dom.js";
import { allLanguages, browserLanguage, t } from "../base/words.js";
import { summary } from "../controls/model_facts.js";
import { readModelNames } from "../server/requests.js";
import { createGallery } from "./gallery_dialog.js";
import { openModelDialog } from "./model_dialog.js";

function remarkOf({ downloaded, shipped }, name) {
  if (name in shipped) {
    return t("models.shipped", { knows: t(`shipped.${shipped[name]}`) });
  }
  return downloaded.includes(name) ? t("models.downloaded") : null;
}

/** @param {Context} context */
export function createHeader(context) {
  const { store, setup, actions } = context;
  const model = el("input", {
    id: "vx-model",
    list: "vx-models",
    value: setup.model,
    spellcheck: "false",
    autocomplete: "off",
    "aria-label": t("models.label"),
    placeholder: t("models.hint"),
    title: t("models.hint.long"),
    onfocus: () => {
      model.select();
      offerAll();
    },
  });
  const models = el(
    "datalist",
    { id: "vx-models" },
    setup.models.map((name) => el("option", { value: name, label: remarkOf(setup, name) })),
  );
  let offered = false;

  /** All names that the server can load, once they are wanted. */
  async function offerAll() {
    if (offered) return;
    offered = true;
    const more = (await readModelNames()).filter((name) => !setup.models.includes(name));
    models.append(...more.map((name) => el("option", { value: name })));
  }

  const gallery = createGallery(context, offerAll);
  const form = el(
    "form",
    {
      class: "model-form",
      onsubmit: (event) => {
        event.preventDefault();
        asked = true;
        actions.explainModel(model.value.trim());
      },
    },
    el(
      "button",
      { type: "button", id: "vx-gallery", title: t("gallery.open.title"), onclick: gallery.open },
      t("gallery.open"),
    ),
    model,
    models,
    el("button", {}, t("action.load")),
    el(
      "button",
      { type: "button", title: t("action.file.title"), id: "vx-load-file", onclick: openFiles },
      t("action.file"),
    ),
  );
  const named = el("strong", { class: "summary-line" });
  const line = el("span", { class: "summary-line" });
  const link = el(
    "button",
    {
      type: "button",
      id: "vx-link",
      title: t("action.link.title"),
      onclick: actions.copyLink,
    },
    t("action.link"),
  );
  const download = el(
    "a",
    {
      class: "button",
      id: "vx-download",
      title: t("action.download.title"),
      download: "",
    },
    t("action.download"),
  );
  const theme = el(
    "button",
    {
      type: "button",
      class: "theme",
      "aria-label": t("action.theme"),
      title: t("action.theme"),
      onclick: actions.toggleTheme,
    },
    "◐",
  );

  const present = el(
    "button",
    {
      type: "button",
      id: "vx-present",
      "aria-label": t("presenting.start"),
      title: t("presenting.start"),
      onclick: () => actions.present(true),
    },
    "▣",
  );

  const spoken = store.get().language || browserLanguage();
  const language = el(
    "select",
    {
      id: "vx-language",
      "aria-label": t("action.language"),
      title: t("action.language"),
      onchange: ({ target }) => actions.chooseLanguage(target.value),
    },
    allLanguages().map(({ code, tag, name }) =>
      el("option", { value: code, lang: tag, selected: code === spoken }, name),
    ),
  );

  let shown = setup.model;
  let asked = false;
  store.on(["result"], ({ result }) => {
    setText(named, result.model.name);
    setText(line, summary(result.model));
    line.title = line.textContent;
    // What was typed and not yet loaded stays, unless another model came from elsewhere.
    const another = result.model.id !== shown;
    if (another && document.activeElement !== model) model.value = result.model.id;
    shown = result.model.id;
    download.href = result.download;
  });
  // A name that could not be loaded would stand above another model's results.
  store.on(["busy", "problem"], ({ busy, result }) => {
    if (busy || !asked) return;
    asked = false;
    if (result) model.value = result.model.id;
  });
  function openFiles() {
    openModelDialog({ store, setup, actions });
  }

  return el(
    "header",
    { class: "header" },
    el("h1", {}, "ViT Explorer"),
    form,
    el("p", { class: "summary" }, named, line),
    link,
    download,
    present,
    language,
    theme,
    gallery.node,
  );
}
