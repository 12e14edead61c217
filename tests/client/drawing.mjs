// A browser's drawing, as far as charts need it: nodes that keep what was put into them.

import { load, serve } from "./page.mjs";

/** How large every drawing is on the page. */
export const SIZE = { width: 340, height: 180 };

class Node {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], listeners: {}, dataset: {}, text: "" });
    this.style = { setProperty: (name, value) => (this.style[name] = value) };
    [this.clientWidth, this.clientHeight] = [SIZE.width, SIZE.height];
  }
  get textContent() {
    return this.text + this.children.map((child) => child.textContent).join("");
  }
  set textContent(text) {
    [this.text, this.children] = [String(text), []];
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  hasAttribute(name) {
    return name in this.attributes;
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  append(...children) {
    this.children.push(...children.map((child) => (child instanceof Node ? child : textOf(child))));
  }
  replaceChildren(...children) {
    this.children = [];
    this.append(...children);
  }
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
  getBoundingClientRect() {
    return { left: 0, top: 0, ...SIZE };
  }
  /** All nodes inside whose class has a word. */
  all(name) {
    const inside = this.children.flatMap((child) => child.all(name));
    return (this.attributes.class ?? "").split(" ").includes(name) ? [this, ...inside] : inside;
  }
}

function textOf(text) {
  const node = new Node("");
  node.textContent = text;
  return node;
}

Object.assign(globalThis.document, {
  createElement: (tag) => new Node(tag),
  createElementNS: (_, tag) => new Node(tag),
});
globalThis.ResizeObserver = class {
  constructor(onChange) {
    this.onChange = onChange;
  }
  observe() {
    this.onChange();
  }
};

/** The page's words in English, which charts write. */
export async function speakEnglish() {
  serve();
  const { speak } = await load("base/words.js");
  await speak("en", {});
}

/** Every number that a drawing's attributes hold, with the name of its attribute. */
export function numbersOf(node) {
  const own = Object.entries(node.attributes).flatMap(([name, value]) =>
    name === "class" || name === "role" || name === "aria-label" || name === "text-anchor"
      ? []
      : [...String(value).matchAll(/NaN|-?Infinity|undefined|null|-?[\d.]+(?:e[-+]?\d+)?/g)].map(
          ([number]) => [name, Number(number)],
        ),
  );
  return [...own, ...node.children.flatMap(numbersOf)];
}

/** Where a line's points are. */
export const pointsOf = (line) =>
  String(line.attributes.points)
    .split(" ")
    .filter(Boolean)
    .map((point) => point.split(",").map(Number));
