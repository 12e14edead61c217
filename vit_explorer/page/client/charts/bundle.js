// One curve among many of the same kind, over a share from 0 to 1.

import { svg } from "../base/svg.js";
import { axisName, curve, feet, planeOf, show } from "./axes.js";
import { percentsOf, rangeOf, writerOf } from "./scales.js";

const SIZE = { width: 300, height: 170 };
const MARGINS = { left: 50, right: 18 };
const SHARES = [0, 0.5, 1];
// A probability's axis reaches at least so high.
const LEAST = 0.01;

/**
 * `own` and each of `others` are values at equal steps of the share; `valued` ones are values, else
 * they are probabilities; `axis` names the share, `text` says it in words.
 * @param {{
 *   own: Numbers,
 *   others: Numbers[],
 *   valued: boolean,
 *   axis: string,
 *   text: string,
 * }} what
 */
export function drawBundle({ own, others, valued, axis, text }) {
  const node = svg("svg", { role: "img", "aria-label": text });
  const up = rangeOf([...own, ...others.flatMap((other) => [...other])], valued ? [] : [0, LEAST]);
  const axes = { across: [0, 1], up, write: valued ? writerOf : percentsOf };
  const plane = planeOf(SIZE, axes, MARGINS);
  /** @param {Numbers} values */
  const line = (values, name) =>
    curve(plane, Array.from(values, (value, at) => [at / Math.max(1, values.length - 1), value]), name);
  show(node, SIZE, [
    ...plane.rules,
    ...feet(plane, SHARES, percentsOf(SHARES)),
    axisName(plane, SIZE.height, axis),
    ...others.map((other) => line(other, "random-curve")),
    line(own, "own-curve"),
  ]);
  return node;
}
