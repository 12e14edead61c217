// What of the Patches view goes into a link.

import { chosen, oneOf, only } from "../../state/link_entries.js";

const STAGES = oneOf(["picture", "crop", "projection", "prefix", "positions"]);

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "stage",
    keys: ["stage"],
    write: only("patches", ({ stage }) => STAGES(stage)),
    read: chosen("stage", STAGES),
  },
];
