// Pictures dropped on the page or pasted into it.

import { el } from "./dom.js";
import { t } from "./words.js";

export function listenForPictures(root, actions) {
  const veil = el(
    "div",
    { class: "drop-veil", hidden: true, "aria-hidden": "true" },
    t("picture.drop"),
  );
  root.append(veil);

  window.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    veil.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    veil.hidden = true;
    const [file] = event.dataTransfer.files;
    if (!file) return;
    event.preventDefault();
    actions.explainFile(file);
  });
  window.addEventListener("paste", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    const [file] = event.clipboardData.files;
    if (file) actions.explainFile(file);
    else if (!typing) actions.fail(t("picture.notPasted"));
  });
}
