// Numbers as people read them.

export function percent(share) {
  const value = share * 100;
  const digits = value >= 99.95 ? 0 : value >= 0.095 || value === 0 ? 1 : 2;
  return `${value.toFixed(digits)}\u00a0%`;
}

/** With so many decimals, a true minus sign, and no minus before zero. */
export function fixed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}

/**
 * A number as files have it: counts as they are, and what is measured as float32, in the fewest
 * digits that read back the same.
 * @param {number} value
 */
export function decimal(value) {
  const single = Math.fround(value);
  if (Number.isSafeInteger(value) || !Number.isFinite(single)) return String(value);
  for (let digits = 1; digits < 9; digits += 1) {
    const found = Number(single.toPrecision(digits));
    if (Math.fround(found) === single) return String(found);
  }
  return String(Number(single.toPrecision(9)));
}

/** A cosine similarity. @param {number} value */
export const cosine = (value) => fixed(value, 2);

/** Three significant digits; powers of ten only where the number would be long. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e4) return value.toExponential(1).replace("e+", "e").replaceAll("-", "\u2212");
  return String(Number(value.toPrecision(size < 0.1 ? 2 : 3))).replace("-", "\u2212");
}

export function milliseconds(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

/** A time as a clock shows it: 1:02:05, or 2:05 below an hour. */
export function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const ending = two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${ending}` : `${minutes}:${ending}`;
}

export function megabytes(bytes) {
  return `${Math.round(bytes / 1e6).toLocaleString()}\u00a0MB`;
}
