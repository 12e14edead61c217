// What entries of a link are made of.

/**
 * Only the view at hand speaks: another's choices would make every link long.
 * @param {string} view
 * @param {LinkEntry["write"]} write
 * @returns {LinkEntry["write"]}
 */
export const only = (view, write) => (state) => (state.tab === view ? write(state) : null);

/**
 * A text that is one of those known, or null.
 * @param {string[]} names
 * @returns {(text: string) => string | null}
 */
export const oneOf = (names) => (text) => (names.includes(text) ? text : null);

/**
 * The value under its key in the store, null where the text is not understood.
 * @param {keyof State} key
 * @param {(text: string) => any} read
 * @returns {LinkEntry["read"]}
 */
export const chosen = (key, read) => (text) => {
  const value = read(text);
  return value === null ? null : { [key]: value };
};

/**
 * One of the result's maps by its method's name, or null.
 * @param {keyof State} key
 * @returns {LinkEntry["read"]}
 */
export const mapOf =
  (key) =>
  (text, { maps }) =>
    maps.some(({ name }) => name === text) ? { [key]: text } : null;

/**
 * A whole number from 1 to `last`, counted from 0; null for anything else.
 * @param {string} text
 * @param {number} last
 * @returns {number | null}
 */
export function counted(text, last) {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  return number >= 1 && number <= last ? number - 1 : null;
}
