// What of the Positions view goes into a link.

import { chosen, oneOf, only } from "../../state/link_entries.js";
import { GRID_SCALES } from "../../state/state.js";

const PARTS = oneOf(["components", "profile", "grid"]);

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "part",
    keys: ["positionsPart"],
    write: only("positions", ({ positionsPart }) => PARTS(positionsPart)),
    read: chosen("positionsPart", PARTS),
  },
  {
    name: "scale",
    keys: ["gridScale"],
    write: only("positions", ({ gridScale }) => (gridScale === 2 ? null : gridScale)),
    read: (text) => (GRID_SCALES.includes(Number(text)) ? { gridScale: Number(text) } : null),
  },
];
