// Small helpers that build the page. Text always goes in as text nodes, never as HTML.

import { t } from "./words.js";

/**
 * Make an element; `attributes` may hold listeners (`onclick`), `dataset`, and plain attributes.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [attributes]
 * @param {(Node | string | null | undefined | (Node | string | null | undefined)[])[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  nameUndrawn(node);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A drawing gets its words with its numbers; until then it has to be called something. */
export function nameUndrawn(node) {
  if (node.getAttribute("role") === "img" && !node.hasAttribute("aria-label"))
    node.setAttribute("aria-label", t("figure.undrawn"));
}

/**
 * Give a node these children. Those that it has and keeps are not taken out: an open menu or a focus
 * in one of them stays.
 * @param {HTMLElement} node
 * @param {(Node | string | null | undefined | (Node | string | null | undefined)[])[]} children
 */
export function replace(node, ...children) {
  const wanted = children.flat().filter((child) => child !== null && child !== undefined);
  const staying = new Set(wanted);
  for (const child of [...node.childNodes]) if (!staying.has(child)) child.remove();
  for (const [at, child] of wanted.entries()) {
    const here = node.childNodes[at] ?? null;
    if (here !== child) node.insertBefore(typeof child === "string" ? new Text(child) : child, here);
  }
}

/**
 * A node's element children.
 * @param {HTMLElement} node
 */
export const childrenOf = (node) => /** @type {HTMLElement[]} */ ([...node.children]);

/** Write text only where it changed, so a live region is not read twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A canvas's size in device pixels for its size on the page; at most 2 a CSS pixel.
 * @param {HTMLCanvasElement} canvas
 */
export function fitCanvas(canvas, cssWidth, cssHeight) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(cssWidth * ratio));
  const height = Math.max(1, Math.round(cssHeight * ratio));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return [width, height];
}

/**
 * Keep a node's size, and call `onChange` when it changed. To ask the node itself while the page is
 * being drawn would lay the page out anew each time.
 */
export function keepSize(node, onChange) {
  const size = { width: 0, height: 0 };
  new ResizeObserver(() => {
    Object.assign(size, { width: node.clientWidth, height: node.clientHeight });
    if (size.width) onChange();
  }).observe(node);
  return size;
}

/** One of a few choices as a row of buttons; `choices` is a list of [value, label]. */
export function segmented(label, choices, onChoose) {
  const buttons = choices.map(([value, text]) =>
    el("button", { type: "button", dataset: { value }, onclick: () => onChoose(value) }, text),
  );
  const node = el("div", { class: "segmented", role: "group", "aria-label": label }, buttons);
  const show = (chosen) => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.value === String(chosen)));
    }
  };
  return { node, show };
}

/** Put a popover under the button that opens it, its right edge at the button's, on the screen. */
export function placeUnder(box, button) {
  const bounds = button.getBoundingClientRect();
  box.style.top = `${Math.min(bounds.bottom + 4, window.innerHeight - 210)}px`;
  box.style.right = `${Math.max(8, document.documentElement.clientWidth - bounds.right)}px`;
}
