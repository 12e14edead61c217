// Formulas as MathML, which browsers set without any library.

const NAMESPACE = "http://www.w3.org/1998/Math/MathML";

export function m(tag, ...children) {
  const node = document.createElementNS(NAMESPACE, tag);
  node.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return node;
}

const node = (part) => (typeof part === "object" ? part : symbol(part));

/** A name is set in italics, a number upright, and anything else is an operator. */
function symbol(part) {
  const text = String(part);
  if (/^[\d.]/.test(text)) return m("mn", text);
  return m(/^\p{L}/u.test(text) ? "mi" : "mo", text);
}

export const row = (...parts) => m("mrow", ...parts.map(node));
export const sub = (base, index) => m("msub", node(base), node(index));
export const sup = (base, index) => m("msup", node(base), node(index));
export const over = (top, bottom) => m("mfrac", node(top), node(bottom));
export const root = (inside) => m("msqrt", node(inside));
/** The sign of a sum over `index`, up to `last` where that is given. */
export function sum(index, last = null) {
  const sign = m("mo", "∑");
  return last === null
    ? m("munder", sign, node(index))
    : m("munderover", sign, node(index), node(last));
}

/** A function of something, such as a layer norm. */
export const applied = (name, inside) => row(name, bracket("("), inside, bracket(")"));
export const normed = (inside) => applied("LN", inside);

/** A bracket as tall as a letter, whatever it holds. */
export function bracket(sign) {
  const bracketed = m("mo", sign);
  bracketed.setAttribute("stretchy", "false");
  return bracketed;
}

/** A formula of its own line. */
export function formula(...parts) {
  const math = m("math", row(...parts));
  math.setAttribute("display", "block");
  return math;
}
