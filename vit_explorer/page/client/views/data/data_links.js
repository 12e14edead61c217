// What of the Data view goes into a link: the set as long as the server holds it, and the filters.

import { only } from "../../state/link_entries.js";
import { ANY } from "../../state/predictions.js";

const KEY = /^[\w-]{10,64}$/;
const FILTER = /^(\d{1,6})?,(\d{1,6})?,(all|right|wrong),(all|sure|unsure)$/;

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "set",
    keys: ["dataSet", "dataWanted"],
    write: only("data", ({ dataSet, dataWanted }) => dataSet?.key ?? (dataWanted || null)),
    read: (text) => (KEY.test(text) ? { dataWanted: text } : null),
  },
  {
    name: "pictures",
    keys: ["dataFilter"],
    write: only("data", ({ dataFilter: { label, predicted, verdict, sure } }) => {
      const written = [label, predicted].map((index) => (index < 0 ? "" : index));
      const text = [...written, verdict, sure].join();
      return text === ",,all,all" ? null : text;
    }),
    read: (text) => {
      const [found, label, predicted, verdict, sure] = FILTER.exec(text) ?? [];
      const index = (digits) => (digits ? Number(digits) : ANY.label);
      return found ? { dataFilter: { label: index(label), predicted: index(predicted), verdict, sure } } : null;
    },
  },
];
