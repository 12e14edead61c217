// What drawn charts share.

import { nameUndrawn } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** How much larger text is than on a small screen: what stands around it in a chart grows with it. */
export function enlargement() {
  const { documentElement: page } = document;
  return "computedStyleMap" in page ? parseFloat(getComputedStyle(page).fontSize) / 16 : 1;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number>} attributes
 * @param {string | number} text
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.textContent = String(text);
  nameUndrawn(node);
  // The checker does not follow a tag's name through createElementNS.
  return /** @type {any} */ (node);
}
