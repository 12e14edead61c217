// A colour bar with the real values at its ends.

import { el, setText } from "../base/dom.js";
import { gradient } from "../maps/colours.js";

export function createColourBar(format) {
  const low = el("span", { class: "bar-low" });
  const high = el("span", { class: "bar-high" });
  const tick = el("span", { class: "bar-tick", hidden: true });
  const strip = el("span", { class: "bar-strip" }, tick);
  const node = el("div", { class: "colour-bar" }, low, strip, high);

  /** Show the scale, with a tick where `value` lies on it. */
  function show(table, limits, value = null) {
    setText(low, format(limits[0]));
    const single = limits[0] === limits[1];
    setText(high, single ? "" : format(limits[1]));
    strip.style.background = single ? "none" : gradient(table);
    tick.hidden = value === null || single;
    const share = (value - limits[0]) / (limits[1] - limits[0]);
    tick.style.left = `${Math.min(1, Math.max(0, share)) * 100}%`;
  }
  return { node, show };
}
