// The page without its server: says what is missing and what to do, and goes on once it is back.

import { address } from "../base/address.js";
import { el, replace } from "../base/dom.js";
import { applyTheme } from "../base/theme.js";
import { browserCodes, speak, t } from "../base/words.js";
import { readSettings } from "../state/store.js";

const PACE = 3000;

async function start() {
  const { theme = "", language = "" } = readSettings();
  const linked = new URLSearchParams(location.hash.split("?")[1] ?? "").get("lang");
  applyTheme(theme);
  await speakAny([linked, language, ...browserCodes(), "en"]);
  const icon = el("img", { src: address("static/favicon.svg"), alt: "" });
  replace(
    document.querySelector(".lost-main"),
    icon,
    el("h2", { role: "status" }, t("lost.title")),
    el("p", {}, t("lost.text")),
    el("code", {}, "vit-explorer app"),
    el("p", {}, t("lost.then")),
    el("button", { type: "button", onclick: () => location.reload() }, t("lost.retry")),
  );
  setInterval(look, PACE);
}

/**
 * Speak the first of these languages whose words are kept.
 * @param {string[]} codes
 */
async function speakAny(codes) {
  const [code, ...others] = codes;
  try {
    if (!code) throw new Error("no language");
    await speak(code, {});
  } catch (error) {
    if (!others.length) throw error;
    await speakAny(others);
  }
}

/** Whether the server is back; what the worker keeps would answer for static files. */
async function look() {
  try {
    await fetch(address("memory"), { cache: "no-store" });
  } catch {
    return; // Still away.
  }
  location.reload();
}

start();
