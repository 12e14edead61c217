// Bars of shares, 0 to 1, beside words: of a class, of a cell of a table, before and after a change.

import { el } from "../base/dom.js";

/**
 * Make a node's bar as long as a share; what is no number has no length.
 * @param {HTMLElement} node
 * @param {number | null} share
 * @param {"--share" | "--before" | "--after"} [name]
 */
export function setShare(node, share, name = "--share") {
  const length = share !== null && Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
  node.style.setProperty(name, String(length));
}

/** @param {number | null} [share] */
export function createShareBar(share = 0) {
  const bar = el("span", { class: "share-bar" });
  setShare(bar, share);
  return bar;
}

/**
 * A prediction's bar; null for a value, which has no length.
 * @param {Prediction} prediction
 */
export const barOf = ({ probability }) => (probability === null ? null : createShareBar(probability));
