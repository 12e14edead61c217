// What a reader is told to do, by what there is to do it with: a finger has no keys.

import { t } from "./words.js";

const fingers = window.matchMedia("(hover: none) and (pointer: coarse)");

/** The sentence `key`, or where there is neither mouse nor keyboard the one about fingers. */
export const hint = (key, touch, values = {}) => t(fingers.matches ? touch : key, values);
