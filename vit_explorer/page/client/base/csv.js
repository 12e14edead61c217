// Tables as files of CSV.

import { decimal } from "./format.js";

const FORMULA = /^[=+\-@\t\r]/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
// Of those the server escapes (sentences.py), what is no surrogate: a string here has whole ones.
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Rows as CSV by RFC 4180. A text that a spreadsheet would run as a formula gets a quotation mark
 * before it, and control characters are escaped; numbers stay numbers, float32 as `decimal` writes them.
 * @param {(string | number | null | undefined)[][]} rows
 */
export const csv = (rows) => rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");

function cell(value) {
  const text = typeof value === "string" ? harmless(value) : written(value);
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {number | null | undefined} value */
const written = (value) => (typeof value === "number" ? decimal(value) : String(value));

/** @param {string} text */
function harmless(text) {
  const quoted = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return quoted.replace(CONTROLS, (found) => {
    const code = found.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}
