// Pictures dropped on the page or pasted into it.

import { el } from "../base/dom.js";
import { t } from "../base/words.js";

/** @param {any} event */
const isField = ({ target }) => Boolean(target.closest?.('input[type="file"]'));
const inDialog = () => Boolean(document.querySelector("dialog[open]"));

/**
 * Returns the veil that covers the page while a picture is held over it.
 * @param {Context} context
 */
export function listenForPictures({ actions, signal }) {
  const veil = el(
    "div",
    { class: "drop-veil", hidden: true, "aria-hidden": "true" },
    t("picture.drop"),
  );

  window.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files") || isField(event)) return;
    event.preventDefault();
    if (inDialog()) event.dataTransfer.dropEffect = "none";
    else veil.hidden = false;
  }, { signal });
  window.addEventListener(
    "dragleave",
    (event) => {
      if (!event.relatedTarget) veil.hidden = true;
    },
    { signal },
  );
  window.addEventListener("drop", (event) => {
    veil.hidden = true;
    const [file] = event.dataTransfer.files;
    if (!file || isField(event)) return;
    event.preventDefault();
    if (!inDialog()) actions.explainFile(file);
  }, { signal });
  window.addEventListener("paste", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    const [file] = event.clipboardData.files;
    if (file) actions.explainFile(file);
    else if (!typing) actions.fail(t("picture.notPasted"));
  }, { signal });
  return veil;
}
