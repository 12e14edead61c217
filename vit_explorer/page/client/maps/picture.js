// The picture's pixels at the size of a canvas, kept so that dragging a slider never rescales it again.

const KEPT = 6;

export function loadImage(url) {
  const image = new Image();
  image.src = url;
  return image.decode().then(() => image);
}

/**
 * Draw a part of the picture, given in the picture's own pixels, to fill width × height.
 * @param {Painter} context
 * @param {any} image
 * @param {Result} result
 * @param {Box} box
 * @param {number} width
 * @param {number} height
 */
export function drawPart(context, image, result, [left, top, right, bottom], width, height) {
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  const scale = image.naturalWidth / result.picture.width;
  const [x, y] = [left * scale, top * scale];
  const [wide, high] = [(right - left) * scale, (bottom - top) * scale];
  context.drawImage(image, x, y, wide, high, 0, 0, width, height);
}

/**
 * Where the crop lies, in pixels of a width × height drawing of the whole picture.
 * @param {Result} result
 * @param {number} width
 * @param {number} height
 */
export function cropIn(result, width, height) {
  const [left, top, right, bottom] = result.box;
  const across = width / result.picture.width;
  const down = height / result.picture.height;
  return [left * across, top * down, right * across, bottom * down].map(Math.round);
}

/** @param {Result} result */
export function cropAspect(result) {
  const [left, top, right, bottom] = result.box;
  return (right - left) / (bottom - top);
}

/** A picture's pixels at any size, the last few sizes kept. */
export class PixelSource {
  /** @param {Result} result */
  constructor(whole, seen, result) {
    this.whole = whole;
    this.seen = seen;
    this.result = result;
    this.kept = new Map();
  }

  /**
   * Draw the crop the model sees, or the whole picture.
   * @param {Painter} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height, whole = false) {
    const { picture, box, box_known: known } = this.result;
    /** @type {Box} */
    const part = whole ? [0, 0, picture.width, picture.height] : box;
    // What the model saw lies under the crop, for padding and for a crop that can't be followed.
    if (!whole) context.drawImage(this.seen, 0, 0, width, height);
    if (whole || known) drawPart(context, this.whole, this.result, part, width, height);
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  pixels(width, height, whole = false) {
    const key = `${width} ${height} ${whole}`;
    let image = this.kept.get(key);
    if (!image) {
      const canvas = new OffscreenCanvas(width, height);
      const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
        canvas.getContext("2d", { willReadFrequently: true })
      );
      this.draw(context, width, height, whole);
      image = context.getImageData(0, 0, width, height);
      if (this.kept.size >= KEPT) this.kept.delete(this.kept.keys().next().value);
      this.kept.set(key, image);
    }
    return image;
  }
}
