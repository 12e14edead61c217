// The figure in a notebook: what is chosen is shared with Python, and attention comes from there.

import { speakWords } from "../base/words.js";
import { setTables } from "../maps/colours.js";
import { showFigure } from "./figure.js";

// What Python knows by the same names; a token is what the page calls pinned.
const SHARED = { layer: "layer", head: "head", token: "pinned", opacity: "opacity", colormap: "colormap", smooth: "smooth" };

/** Draw one view of the widget; returns what takes it away. */
export async function render({ model, el: node }) {
  const told = model.get("_told");
  speakWords(told.words);
  setTables(told.look);
  const names = Object.entries(SHARED);
  const chosen = Object.fromEntries(names.map(([name, key]) => [key, model.get(name)]));
  const line = openLine(model);
  const { store, end } = await showFigure(node, told, told.attention && line.ask, chosen);
  const keys = /** @type {(keyof State)[]} */ (Object.values(SHARED));
  store.on(keys, (state) => {
    for (const [name, key] of names) if (model.get(name) !== state[key]) model.set(name, state[key]);
    model.save_changes();
  });
  const follow = names.map(([name, key]) => {
    const listener = () => store.set({ [key]: model.get(name) });
    model.on(`change:${name}`, listener);
    return () => model.off(`change:${name}`, listener);
  });
  return () => {
    for (const leave of follow) leave();
    line.close();
    end();
  };
}

/** Questions to Python and its answers, which come as messages. */
function openLine(model) {
  const waiting = new Map();
  const own = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const answer = ({ to, said }, buffers) => {
    const open = waiting.get(to);
    if (!open) return; // another view's
    waiting.delete(to);
    if (said) open.reject(new Error(said));
    else open.resolve({ arrays: { attention: numbersOf(buffers[0]) } });
  };
  model.on("msg:custom", answer);
  return {
    ask: (path) =>
      new Promise((resolve, reject) => {
        const to = `${own}-${path}`;
        waiting.set(to, { resolve, reject });
        model.send({ ask: path, to });
      }),
    close: () => model.off("msg:custom", answer),
  };
}

/** A message's bytes as float32, wherever in their memory they begin. @param {DataView} view */
const numbersOf = (view) =>
  new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
