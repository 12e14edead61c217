// Colour tables come from the server, so that page, files and notebook show the same colours.

let tables = {};
let divergingName = "";
let floor = 0;

/** @param {Pick<Setup, "colormaps" | "diverging" | "floor">} setup */
export function setTables(setup) {
  tables = Object.fromEntries(
    Object.entries(setup.colormaps).map(([name, flat]) => [name, Uint8Array.from(flat)]),
  );
  divergingName = setup.diverging;
  floor = setup.floor;
}

/** The tables that a reader may choose. */
export const allColormaps = () => Object.keys(tables).filter((name) => name !== divergingName);

export const isColormap = (name) => allColormaps().includes(name);

/** 256 RGB colours: the chosen sequential table, or the diverging one for a signed map. */
export function tableFor(name, signed = false) {
  return tables[signed ? divergingName : name] ?? Object.values(tables)[0];
}

/**
 * How the reader wants maps laid over the picture, for `overlay`.
 * @param {State} state
 * @param {{ signed?: boolean, limits: Numbers, region?: Numbers }} map
 */
export function manner(state, { signed = false, limits, region }) {
  const { opacity, smooth, colormap } = state;
  return { opacity, smooth, signed, limits, region, floor, table: tableFor(colormap, signed) };
}

/** The same table as a CSS gradient, for a colour bar. */
export function gradient(table) {
  const stops = [];
  for (let i = 0; i <= 16; i += 1) {
    const at = Math.round((i / 16) * 255) * 3;
    stops.push(`rgb(${table[at]} ${table[at + 1]} ${table[at + 2]})`);
  }
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Whether white stands out from a colour more than black does (WCAG's relative luminance). */
export function isDark(rgb) {
  const [red, green, blue] = [...rgb].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179;
}
