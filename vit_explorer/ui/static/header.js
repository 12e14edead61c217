// The header: which model on which device, what was detected, and the download.

import { el, setText } from "./dom.js";
import { t } from "./words.js";

export function createHeader({ store, setup, actions }) {
  const model = el("input", {
    id: "vx-model",
    list: "vx-models",
    value: setup.model,
    spellcheck: "false",
    autocomplete: "off",
    "aria-label": t("model.label"),
    placeholder: t("model.hint"),
    title: t("model.hint"),
    onfocus: () => model.select(),
  });
  const models = el(
    "datalist",
    { id: "vx-models" },
    setup.models.map((name) => el("option", { value: name })),
  );
  const form = el(
    "form",
    {
      class: "model-form",
      onsubmit: (event) => {
        event.preventDefault();
        actions.explainModel(model.value.trim());
      },
    },
    model,
    models,
    el("button", {}, t("action.load")),
  );
  const summary = el("p", { class: "summary" });
  const download = el(
    "a",
    {
      class: "button",
      id: "vx-download",
      title: t("action.download.title"),
      download: "",
      hidden: true,
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

  let shown = setup.model;
  store.on(["result"], ({ result }) => {
    setText(summary, result.model.summary);
    summary.title = result.model.summary;
    // What was typed and not yet loaded stays, unless another model came from elsewhere.
    const another = result.model.id !== shown;
    if (another && document.activeElement !== model) model.value = result.model.id;
    shown = result.model.id;
    download.href = result.download;
    download.hidden = false;
  });
  return el(
    "header",
    { class: "header" },
    el("h1", {}, "ViT Explorer"),
    form,
    summary,
    download,
    theme,
  );
}
