// What of the Attention view goes into a link.

import { counted } from "../../state/link_entries.js";

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "direction",
    keys: ["direction"],
    write: ({ direction }) => (direction === "from" ? null : direction),
    read: (text) => (text === "to" ? { direction: text } : null),
  },
  {
    name: "rolled",
    keys: ["rolled"],
    write: ({ rolled }) => (rolled ? "1" : null),
    read: (text) => (text === "1" ? { rolled: true } : null),
  },
  {
    name: "mass",
    keys: ["mass"],
    write: ({ mass }) => (mass === 1 ? null : String(Math.round(mass * 100))),
    read: (text) => {
      const share = counted(text, 100);
      return share === null ? null : { mass: (share + 1) / 100 };
    },
  },
];
