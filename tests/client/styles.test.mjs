// Style sheets hold what the page has: no class, id or property that nothing carries any more.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";

// What Gradio puts around the page has classes of its own.
const FOREIGN = /^body\b/;
// Notebooks have properties of their own.
const HOSTS = /^--(?:jp|vscode|colab)-/;
const CLIENT = new URL("../../vit_explorer/page/client/", import.meta.url);

async function textOf(ending) {
  const names = await readdir(CLIENT, { recursive: true });
  const files = names.filter((name) => name.endsWith(ending) && !name.startsWith("vendor"));
  return (await Promise.all(files.map((name) => readFile(new URL(name, CLIENT), "utf8")))).join("\n");
}

/** Selectors and declarations of style sheets, without comments and strings. */
function readStyles(css) {
  const bare = css.replace(/\/\*.*?\*\//gs, "").replace(/"[^"]*"/g, '""');
  const selectors = [...bare.matchAll(/([^{};]+)\{/g)]
    .map(([, text]) => text.trim())
    .filter((text) => !text.startsWith("@") && !FOREIGN.test(text));
  const all = (pattern, text) => new Set([...text.matchAll(pattern)].map(([, name]) => name));
  return {
    classes: all(/\.([a-z][\w-]*)/g, selectors.join(" ")),
    ids: all(/#([a-z][\w-]*)/g, selectors.join(" ")),
    set: all(/(--[\w-]+)\s*:/g, bare),
    used: all(/var\((--[\w-]+)/g, bare),
  };
}

/**
 * The names in a script's strings, and the beginnings of those that it puts together. A string that
 * holds anything but names, such as a sentence's key or a selector, makes no class.
 */
function readScript(code) {
  const lines = code.split("\n").filter((line) => !/^\s*(\/\/|\/?\*)/.test(line));
  const strings = lines.flatMap((line) =>
    [...line.matchAll(/"([^"]*)"|`([^`]*)`/g)].map(([, plain, made]) =>
      (plain ?? made).replace(/\$\{[^}]*\}/g, ""),
    ),
  );
  const names = strings.filter((text) => /^[\w -]+$/.test(text));
  const words = new Set(names.flatMap((text) => text.split(" ")));
  const beginnings = [...code.matchAll(/([a-z][\w-]*-)\$\{/g)].map(([, start]) => start);
  return { words, beginnings };
}

/** What of a style sheet nothing of the page carries, by its kind. */
function deadIn(css, code) {
  const styles = readStyles(css);
  const { words, beginnings } = readScript(code);
  const there = (name) => words.has(name) || beginnings.some((start) => name.startsWith(start));
  return {
    classes: [...styles.classes].filter((name) => !there(name)),
    ids: [...styles.ids].filter((name) => !there(name)),
    unset: [...styles.used].filter((name) => !HOSTS.test(name) && !styles.set.has(name) && !words.has(name)),
    unused: [...styles.set].filter((name) => !styles.used.has(name) && !words.has(name)),
  };
}

const NONE = { classes: [], ids: [], unset: [], unused: [] };

test("every selector can match, and every property is set and used", async () => {
  const [css, scripts, pages] = await Promise.all([".css", ".js", ".html"].map(textOf));
  assert.deepEqual(deadIn(css, scripts + pages), NONE);
});

test("what is dead would be found", () => {
  const code = 'el("p", { class: "note wide" }); el("i", { class: `key-${name}`, id: "vx-a" }); set("--share")';
  const css = ".vx.note .key-one, #vx-a { --low: 1; width: calc(var(--low) * var(--share)); }";
  assert.deepEqual(deadIn(css, `${code} "vx"`), NONE);
  const dead = `${css} @media (width > 9px) { .wider { --high: 2 } } #gone { top: var(--nowhere) } /* .said */`;
  assert.deepEqual(deadIn(dead, `${code} "vx"`), {
    classes: ["wider"], ids: ["gone"], unset: ["--nowhere"], unused: ["--high"],
  });
});
