// Every sentence of the page comes from lang/LANGUAGE.json; what the server says has keys there too.

import { address } from "./address.js";

// What a language lacks is said in this one.
const FALLBACK = "en";
/** @type {Language[]} */
let languages = [{ code: FALLBACK, tag: FALLBACK, name: "English" }];
let words = {};
let own = {};

/** Know the languages that the server has files of: each one's code, tag and own name. */
export function learnLanguages(served) {
  languages = served;
}

/** The languages that the page speaks, each with its code, tag and own name. */
export const allLanguages = () => languages;

export const isLanguage = (code) => languages.some((language) => language.code === code);

/** Codes that the browser's tags, such as "pt-BR", may be a language's, the nearest first. */
export const browserCodes = () =>
  navigator.languages.flatMap((tag) => [tag, tag.slice(0, tag.search(/-|$/))]);

/** The browser's language where the page speaks it, else English. */
export function browserLanguage() {
  return browserCodes().find(isLanguage) ?? FALLBACK;
}

async function readWords(code) {
  const response = await fetch(address(`static/lang/${code}.json`));
  if (!response.ok) throw new Error(`words ${response.status}`);
  return response.json();
}

/** Speak `language` ("" is the browser's) from now on; `served` are the server's texts in English. */
export async function speak(language, served) {
  const code = language || browserLanguage();
  const english = { ...served, ...(await readWords(FALLBACK)) };
  own = code === FALLBACK ? english : await readWords(code);
  words = { ...english, ...own };
  document.documentElement.lang = own["language.tag"];
}

/** Speak these words, where there is no server to ask for them. @param {Record<string, string>} given */
export function speakWords(given) {
  own = given;
  words = given;
}

const fill = (sentence, values) =>
  sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** The sentence `key`, with `{name}` places filled in; in English where the language lacks it. */
export function t(key, values = {}) {
  if (words[key] === undefined) throw new Error(`no words for ${key}`);
  return fill(words[key], values);
}

/** Items of a list as one text. */
export const list = (items) => [...items].join(t("list"));

/** Sentences one after the other, empty ones left out. */
export const sentences = (...parts) => parts.filter(Boolean).join(t("gap"));

/**
 * What the server says: a key and its values, which may be such sentences too, with the English.
 * What has no words here is said in English, and so called.
 * @param {Said} told
 */
export function said({ text, key, values }) {
  if (!text) return "";
  return own[key] === undefined ? t("state.english", { text }) : fill(own[key], spoken(values));
}

/** The values of a sentence, each said: English within a sentence needs no word about it. */
function spoken(values) {
  const say = (value) => (typeof value === "string" ? value : within(value));
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, say(value)]));
}

function within({ text, key, values }) {
  return own[key] === undefined ? text : fill(own[key], spoken(values));
}
