// What of the Training view goes into a link.

import { only } from "../../state/link_entries.js";

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "epoch",
    keys: ["frame"],
    write: only("training", ({ film, frame, epochWanted }) => {
      if (!film) return Number.isFinite(epochWanted) ? epochWanted : null;
      return frame < film.frames - 1 ? film.epochs[frame] : null;
    }),
    read: (text) => (/^\d{1,5}$/.test(text) ? { epochWanted: Number(text) } : null),
  },
];
