// Which class is where, in colours: the commonest have one each, all others are grey.

// Wong 2011, "Points of view: Color blindness": told apart by nearly everyone. As in
// vit_explorer/drawing/patch_figures.py.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"];
const OTHERS = "#9a9a9a";
const LEVELS = 256;

/**
 * The classes that are said most often, the commonest first, as many as there are colours.
 * @param {Numbers} classes
 * @returns {number[]}
 */
export function frequentClasses(classes) {
  const counts = new Map();
  for (const index of classes) counts.set(index, (counts.get(index) ?? 0) + 1);
  return [...counts.keys()]
    .sort((one, other) => counts.get(other) - counts.get(one) || one - other)
    .slice(0, COLOURS.length);
}

/**
 * What draws classes as a map: `table` and `limits` as other maps have them, and what stands for a
 * class in between. `known` are the classes with a colour.
 * @param {number[]} known
 */
export function classScale(known) {
  const colours = [...known.map((_, at) => COLOURS[at]), OTHERS].map(rgbOf);
  const table = new Uint8Array(LEVELS * 3);
  for (let step = 0; step < LEVELS; step += 1)
    table.set(colours[Math.floor((step * colours.length) / LEVELS)], step * 3);
  const place = new Map(known.map((index, at) => [index, at + 0.5]));
  return {
    table,
    limits: /** @type {Pair} */ ([0, colours.length]),
    /** @param {Numbers} classes */
    values: (classes) => Float32Array.from(classes, (index) => place.get(index) ?? known.length + 0.5),
  };
}

/** The colour of a class with one, else that of all others. */
export const classColour = (known, index) => COLOURS[known.indexOf(index)] ?? OTHERS;

/** @param {string} hex */
const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
