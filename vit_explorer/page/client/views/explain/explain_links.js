// What of the Explain view goes into a link.

import { layerOf } from "../../state/chosen_maps.js";
import { counted } from "../../state/link_entries.js";

/** @type {LinkEntry[]} */
export const LINKS = [
  {
    name: "by",
    keys: ["protocol"],
    setting: true,
    write: ({ protocol }) => protocol || null,
    read: (text) => ({ protocol: text === "pixels" || text === "tokens" ? text : "" }),
  },
  {
    name: "maps",
    keys: ["methods"],
    setting: true,
    write: ({ methods }) => (methods ? methods.join(",") : null),
    read: (text) => ({ methods: text.split(",").filter((name) => /^\w+$/.test(name)) }),
  },
  {
    name: "at",
    keys: ["mapLayers"],
    write: (state) => {
      const own = Object.keys(state.mapLayers).filter((name) => layerOf(state, name) !== null);
      return own.map((name) => `${name}:${state.mapLayers[name] + 1}`).join(",") || null;
    },
    read: (text, { model }) => {
      const pairs = text.split(",").map((part) => part.split(":"));
      const layers = pairs.map(([name, layer = ""]) => [name, counted(layer, model.depth)]);
      return { mapLayers: Object.fromEntries(layers.filter(([, layer]) => layer !== null)) };
    },
  },
];
