// A map's values and its overlay in Python, and as words of the command.

import { targetCode } from "../base/outputs.js";

/**
 * `map` as the page holds it; `limits` are those of its colours where maps share a scale.
 * @param {any} map
 * @param {State} state
 */
export function pythonOf(map, { result, opacity, colormap, smooth, whole, shared }, limits = []) {
  const options = Number.isInteger(map.layer)
    ? `, options={"${map.name}": {"layer": ${map.layer}}}`
    : "";
  const look = [
    `"${map.name}"`,
    `opacity=${opacity}`,
    `colormap="${colormap}"`,
    ...(smooth ? [] : ["smooth=False"]),
    ...(whole ? ['on="whole"'] : []),
    ...(shared ? [`limits=(${limits.join(", ")})`] : []),
  ];
  return [
    `result = vx.explain(model, picture, methods=("${map.name}",)${targetCode(result)}${options})`,
    `values = result.heatmaps["${map.name}"].values`,
    `overlay = result.overlay(${look.join(", ")})`,
  ];
}

/**
 * @param {any} map
 * @param {State} state
 */
export function optionsOf(map, { result }) {
  const target = result.target ? ["--target", String(result.target.name)] : [];
  const layer = Number.isInteger(map.layer) ? ["--option", `${map.name}.layer=${map.layer}`] : [];
  return ["--method", map.name, ...target, ...layer];
}
