// Every sentence of the page comes from lang/LANGUAGE.json; the server's own texts have keys there too.

import { address } from "./address.js";

export const LANGUAGES = ["en", "zh"];
const TAGS = { en: "en", zh: "zh-CN" };
let words = {};

/** The browser's language where the page speaks it, else English. */
export function browserLanguage() {
  const spoken = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return spoken.find((name) => LANGUAGES.includes(name)) ?? "en";
}

export const otherLanguage = (language) =>
  LANGUAGES.find((name) => name !== (language || browserLanguage()));

/** Speak `language` ("" is the browser's) from now on; `served` are the server's texts in English. */
export async function speak(language, served) {
  const name = language || browserLanguage();
  const response = await fetch(address(`static/lang/${name}.json`));
  if (!response.ok) throw new Error(`words ${response.status}`);
  words = { ...served, ...(await response.json()) };
  document.documentElement.lang = TAGS[name];
}

/** The sentence `key`, with `{name}` places filled in. */
export function t(key, values = {}) {
  const sentence = words[key];
  if (sentence === undefined) throw new Error(`no words for ${key}`);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Items of a list as one text. */
export const list = (items) => [...items].join(t("list"));

/** Sentences one after the other, empty ones left out. */
export const sentences = (...parts) => parts.filter(Boolean).join(t("gap"));

/**
 * A sentence of the server's: a key and its values, or plain text that has no key.
 * @param {Said} told
 */
export const said = ({ key, values, text }) => (key ? t(key, values) : text);
