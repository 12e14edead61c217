// What of the Learn, Patches, Positions and Compare views goes into a link.

import { GRID_SCALES } from "./state.js";

const one = (names) => (text) => (names.includes(text) ? text : null);
const STAGES = one(["picture", "crop", "projection", "prefix", "positions"]);
const POSITIONS = one(["components", "profile", "grid"]);
const PARTS = one(["attention", "positions"]);
const SIDES = /^(model|picture):([\w.:-]{1,120})$/;
const KEY = /^[0-9a-f]{64}$/;

/** Only the view at hand speaks: another's choices would make every link long. */
const only = (view, write) => (state) => (state.tab === view ? write(state) : null);
const chosen = (key, read) => (text) => {
  const value = read(text);
  return value === null ? null : { [key]: value };
};

/** @type {LinkEntry[]} */
export const VIEW_PLACES = [
  {
    name: "step",
    keys: ["step"],
    write: only("learn", ({ step }) => (step ? step + 1 : null)),
    read: (text) => (/^([1-9]|10)$/.test(text) ? { step: Number(text) - 1 } : null),
  },
  {
    name: "stage",
    keys: ["stage"],
    write: only("patches", ({ stage }) => STAGES(stage)),
    read: chosen("stage", STAGES),
  },
  {
    name: "part",
    keys: ["positionsPart"],
    write: only("positions", ({ positionsPart }) => POSITIONS(positionsPart)),
    read: chosen("positionsPart", POSITIONS),
  },
  {
    name: "scale",
    keys: ["gridScale"],
    write: only("positions", ({ gridScale }) => (gridScale === 2 ? null : gridScale)),
    read: (text) => (GRID_SCALES.includes(Number(text)) ? { gridScale: Number(text) } : null),
  },
  {
    name: "epoch",
    keys: ["frame"],
    write: only("training", ({ film, frame, epochWanted }) => {
      if (!film) return Number.isFinite(epochWanted) ? epochWanted : null;
      return frame < film.frames - 1 ? film.epochs[frame] : null;
    }),
    read: (text) => (/^\d{1,5}$/.test(text) ? { epochWanted: Number(text) } : null),
  },
  {
    name: "shows",
    keys: ["comparePart"],
    write: only("compare", ({ comparePart }) => PARTS(comparePart)),
    read: chosen("comparePart", PARTS),
  },
  {
    name: "method",
    keys: ["compareMethod"],
    write: only("compare", ({ compareMethod }) => compareMethod || null),
    read: (text, { maps }) =>
      maps.some(({ name }) => name === text) ? { compareMethod: text } : null,
  },
  {
    name: "beside",
    keys: ["otherWanted"],
    // A picture that was sent is held by this server for a while, and is no one else's.
    write: only("compare", ({ otherWanted: wanted }) =>
      wanted && !KEY.test(wanted.name) ? `${wanted.kind}:${wanted.name}` : null,
    ),
    read: (text) => {
      const [, kind, name] = SIDES.exec(text) ?? [];
      return kind ? { otherWanted: { kind, name, label: name }, otherKind: kind } : null;
    },
  },
];
