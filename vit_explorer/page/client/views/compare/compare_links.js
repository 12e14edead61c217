// What of the Compare view goes into a link.

import { chosen, mapOf, oneOf, only } from "../../state/link_entries.js";

const PARTS = oneOf(["attention", "positions", "components", "features", "query_key"]);
const SIDES = /^(class|model|picture):([\w.:-]{1,120})$/;

/** @type {LinkEntry[]} */
export const LINKS = [
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
    read: mapOf("compareMethod"),
  },
  {
    name: "sides",
    keys: ["compareShared"],
    write: only("compare", ({ compareShared }) => (compareShared ? null : "own")),
    read: (text) => (text === "own" ? { compareShared: false } : null),
  },
  {
    name: "beside",
    keys: ["otherWanted"],
    write: only("compare", ({ otherWanted: wanted }) =>
      wanted ? `${wanted.kind}:${wanted.name}` : null,
    ),
    read: (text) => {
      const [, kind, name] = SIDES.exec(text) ?? [];
      return kind ? { otherWanted: { kind, name, label: name }, otherKind: kind } : null;
    },
  },
];
