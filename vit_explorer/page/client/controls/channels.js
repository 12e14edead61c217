// Pictures of other channels than red, green and blue, and pixels that belong to no patch, in words.

import { list, sentences, t } from "../base/words.js";

/**
 * What a model's pixels are made of: "colour", "grey" or "bands".
 * @param {Model} model
 */
export const pixelKind = ({ channels }) => ({ 1: "grey", 3: "colour" })[channels] ?? "bands";

/** Whether a module's own transform makes the pixels in a way that isn't known. */
export const ownValues = ({ own_transform: own, mean, std }) =>
  Boolean(own) && mean.every((value) => value === 0) && std.every((value) => value === 1);

/**
 * How many rows and columns of pixels belong to no patch; "" where all do.
 * @param {Model} model
 */
export function leftOver({ left_over: [rows, columns] = [0, 0] }) {
  return rows || columns ? t("picture.left", { rows, columns }) : "";
}

/**
 * Which bands of a picture are shown, and which of its values became black and white.
 * @param {PictureInfo} picture
 */
export function pictureNote({ bands, stretch }) {
  return sentences(
    bands && t("picture.bands", { count: bands.count, shown: list(bands.shown.map((band) => band + 1)) }),
    stretch && stretchNote(stretch),
  );
}

function stretchNote({ rule, low, high, bits }) {
  const exact = (value) => value.toLocaleString(undefined, { maximumSignificantDigits: 6 });
  const ends = { low: exact(low), high: exact(high), bits };
  return t(bits ? "picture.stretch.bits" : `picture.stretch.${rule}`, ends);
}

/** Which of a patch's channels are drawn as red, green and blue. */
export const drawnChannels = (channels) => (channels >= 3 ? [0, 1, 2] : [0, 0, 0]);
