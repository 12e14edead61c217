// What of the Learn view goes into a link.

import { only } from "../../state/link_entries.js";

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "step",
    keys: ["step"],
    write: only("learn", ({ step }) => (step ? step + 1 : null)),
    read: (text) => (/^([1-9]|10)$/.test(text) ? { step: Number(text) - 1 } : null),
  },
];
