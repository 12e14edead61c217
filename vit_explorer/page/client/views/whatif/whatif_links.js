// What of the What-if view goes into a link.

import { lacks } from "../../base/lacks.js";
import { readEdit, writeEdit } from "../../state/edits.js";
import { chosen } from "../../state/link_entries.js";

const METHOD = /^[a-z_+]{1,60}$/;

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
    // A map that is not here is worked out once the view is open.
    read: chosen("ranking", (text) => (METHOD.test(text) ? text : null)),
  },
];
