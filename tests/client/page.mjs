// What scripts expect of a browser, as far as those tested here need it: addresses, and files by them.

import { readFile } from "node:fs/promises";

const CLIENT = new URL("../../vit_explorer/page/client/", import.meta.url);
const STATIC = "http://page.test/explorer/static/";

globalThis.document ??= { baseURI: "http://page.test/", documentElement: { lang: "", dataset: {} } };

/** Serve the page's own files to `fetch`, and from `answers` what a server would work out. */
export function serve(answers = {}) {
  globalThis.fetch = async (url, options = {}) => {
    const path = String(url).replace("http://page.test/explorer/", "");
    if (path in answers) return answers[path](options);
    if (!String(url).startsWith(STATIC)) return new Response("", { status: 404 });
    return new Response(await readFile(new URL(String(url).slice(STATIC.length), CLIENT)));
  };
}

/** Import a script of the page by its path. */
export const load = (path) => import(new URL(path, CLIENT));

/** A model with two tokens before a grid of patches, as the page has it. */
export const modelOf = (rows, columns, prefix = ["class", "register 1"]) => ({
  grid: [rows, columns],
  prefix,
  depth: 3,
  heads: 4,
  tokens: prefix.length + rows * columns,
  dim: 8,
  lacks: [],
});
