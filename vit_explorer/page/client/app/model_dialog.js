// A form that loads a checkpoint or class names from this computer, with its progress and a Stop.

import { el, setText } from "../base/dom.js";
import { percent } from "../base/format.js";
import { t } from "../base/words.js";
import { loadFiles, sendFile } from "../server/requests.js";

const OUTPUTS = ["classes", "labels", "probabilities", "value", "embedding"];

/** @param {Omit<Context, "signal">} context */
export function openModelDialog({ store, setup, actions }) {
  const weights = file("vx-weights", setup.endings.weights.join(","));
  const labels = file("vx-labels", setup.endings.labels.join(","));
  const architecture = el("input", {
    id: "vx-architecture",
    list: "vx-models",
    autocomplete: "off",
    spellcheck: "false",
  });
  const outputs = el(
    "select",
    { id: "vx-outputs" },
    el("option", { value: "" }, t("load.outputs.found")),
    OUTPUTS.map((kind) => el("option", { value: kind }, t(`outputs.${kind}`))),
  );
  const says = el("p", { class: "note", role: "status" });
  const wrong = el("p", { class: "wrong", role: "alert" });
  const load = el("button", { class: "primary" }, t("load.load"));
  const stop = el("button", { type: "button", hidden: true, onclick: halt }, t("action.stop"));
  const close = el(
    "button",
    { type: "button", onclick: () => dialog.close() },
    t("action.cancel"),
  );
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": "vx-load-title", onclose: end },
    el(
      "form",
      { class: "load-form", onsubmit: submit },
      el("h2", { id: "vx-load-title" }, t("load.title")),
      field("load.weights", weights),
      field("load.architecture", architecture),
      el("p", { class: "note" }, t("load.architecture.help")),
      field("load.labels", labels),
      el("p", { class: "note" }, t("load.labels.help")),
      field("load.outputs", outputs),
      says,
      wrong,
      el("div", { class: "picture-actions" }, load, stop, close),
    ),
  );
  let under = null;
  document.querySelector(".vx").append(dialog);
  dialog.showModal();

  async function submit(event) {
    event.preventDefault();
    under = new AbortController();
    const { signal } = under;
    busy(true);
    setText(wrong, "");
    try {
      const sent = {};
      for (const [kind, input] of Object.entries({ weights, labels })) {
        if (input.files.length) sent[kind] = await send(kind, input.files[0], signal);
      }
      setText(says, t("load.reading"));
      const named = architecture.value.trim();
      const shown = store.get().result?.model.id ?? setup.model;
      const model = await loadFiles(
        {
          ...sent,
          architecture: named || (sent.weights ? "" : shown),
          outputs: outputs.value || null,
        },
        signal,
        (words) => setText(says, words),
      );
      dialog.close();
      actions.explainModel(model);
    } catch (error) {
      if (!signal.aborted)
        setText(wrong, error instanceof TypeError ? t("state.offline") : error.message);
    } finally {
      busy(false);
    }
  }

  /** @param {AbortSignal} signal */
  function send(kind, chosen, signal) {
    const limit = setup.max_upload[kind];
    if (chosen.size > limit) {
      const [size, most] = [chosen.size, limit].map((bytes) => Math.ceil(bytes / 1e6));
      throw new Error(t("load.tooLarge", { name: chosen.name, size, limit: most }));
    }
    const show = (share) =>
      setText(says, t("load.sending", { name: chosen.name, share: percent(share) }));
    show(0);
    return sendFile(kind, chosen, signal, show);
  }

  function busy(now) {
    load.disabled = now;
    stop.hidden = !now;
    if (!now) setText(says, "");
  }

  function halt() {
    under?.abort();
    actions.tell(t("load.stopped"));
  }

  function end() {
    under?.abort();
    dialog.remove();
  }
}

function file(id, accept) {
  return el("input", { id, type: "file", accept });
}

function field(label, control) {
  return el("label", { class: "field" }, el("span", {}, t(label)), control);
}
