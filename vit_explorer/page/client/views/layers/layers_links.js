// What of the Layers view goes into a link.

import { chosen, oneOf, only } from "../../state/link_entries.js";

const KINDS = oneOf(["top"]);

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "patches",
    keys: ["patchLens"],
    write: only("layers", ({ patchLens }) => KINDS(patchLens)),
    read: chosen("patchLens", KINDS),
  },
];
