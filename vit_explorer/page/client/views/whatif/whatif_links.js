// What of the What-if view goes into a link.

import { lacks } from "../../base/lacks.js";
import { readEdit, writeEdit } from "../../state/edits.js";
import { mapOf } from "../../state/link_entries.js";

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "without",
    keys: ["edit"],
    write: ({ edit, result }) =>
      writeEdit(lacks(result, "tokens") ? { ...edit, how: "drop" } : edit),
    read: (text, { model, pass }) => {
      const edit = readEdit(text, model);
      return edit && { edit, editOf: [model.key, pass] };
    },
  },
  {
    name: "ranking",
    keys: ["ranking"],
    write: ({ ranking }) => ranking || null,
    read: mapOf("ranking"),
  },
];
