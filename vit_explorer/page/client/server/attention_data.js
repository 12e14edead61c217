// Attention as the model computed it, in float32: what is shown, said and saved is one number.

import { fetchPacked } from "./packed.js";
import { Resources } from "./resources.js";

/** Attention rows over all tokens. */
class Rows {
  /**
   * @param {{ arrays: Packed["arrays"] }} packed
   * @param {{ tokens: number }} info
   */
  constructor({ arrays }, { tokens }) {
    this.tokens = tokens;
    this.values = arrays.attention;
  }

  /**
   * @param {number} row
   * @param {number} key
   */
  value(row, key) {
    return this.values[row * this.tokens + key];
  }
}

/** Combine head values: "mean", "max", or one head's number counted from 0. */
function fuse(heads, choice, read) {
  if (typeof choice === "number") return read(choice);
  let result = 0;
  for (let head = 0; head < heads; head += 1) {
    const value = read(head);
    result = choice === "max" ? Math.max(result, value) : result + value;
  }
  return choice === "max" ? result : result / heads;
}

/**
 * All attention of one pass, fetched a layer at a time; effects that read a map hear of it. It comes
 * from the server, or from what else `ask` asks by the same paths.
 */
export class Attention {
  #packs = new Resources();
  #fused = new Map();
  #ask;

  /**
   * @param {AttentionInfo} info
   * @param {(path: string) => Promise<{ arrays: Packed["arrays"] }>} ask
   */
  constructor(info, ask = (path) => fetchPacked(`${info.url}/${path}`)) {
    this.info = info;
    this.#ask = ask;
  }

  /**
   * Fetch a layer, once.
   * @param {number} layer
   */
  load(layer) {
    return this.#fetch(`layers/${layer}`);
  }

  /** Fetch all layers, one after the other; where one can't be had, those after it are not asked for. */
  async loadAll() {
    for (let layer = 0; layer < this.info.depth; layer += 1) {
      if (!(await this.load(layer))) return;
    }
  }

  /**
   * Fetch of every layer and head what one token gives ("from") or gets ("to"), when whole layers are
   * too large.
   * @param {number} query
   * @param {"from" | "to"} direction
   */
  loadQuery(query, direction = "from") {
    return this.#fetch(`queries/${query}/${direction}`);
  }

  /** Fetch rows; null where they can't be had, which maps then say. */
  #fetch(path) {
    const load = async () => new Rows(await this.#ask(path), this.info);
    return this.#packs.load(path, load).catch(() => null);
  }

  /**
   * A layer's rows of all queries, or null.
   * @param {number} layer
   * @returns {Rows | null}
   */
  layer(layer) {
    return this.#packs.peek(`layers/${layer}`).value;
  }

  /** How many layers and queries are here: what is drawn of them is drawn anew when more are. */
  get count() {
    return this.#packs.count("ready");
  }

  /** Whether some of it could not be had. */
  get failed() {
    return this.#packs.count("failed") > 0;
  }

  /** What could not be had may be asked for again. */
  forgetFailures() {
    this.#packs.forgetFailures();
  }

  /** Attention between `query` and every token, or null while it is not here yet. */
  map({ layer, head, query, direction }) {
    const { heads, tokens } = this.info;
    const pack = this.layer(layer);
    if (pack) {
      return Float32Array.from({ length: tokens }, (_, key) =>
        fuse(heads, head, (h) =>
          direction === "from"
            ? pack.value(h * tokens + query, key)
            : pack.value(h * tokens + key, query),
        ),
      );
    }
    const rows = this.#packs.peek(`queries/${query}/${direction}`).value;
    if (rows) {
      return Float32Array.from({ length: tokens }, (_, key) =>
        fuse(heads, head, (h) => rows.value(layer * heads + h, key)),
      );
    }
    return null;
  }

  /**
   * Rollout up to a layer: what `query` is mixed of there ("from"), or how much of `query` each
   * token holds ("to"): a row or a column of Â_layer … Â_0 with Â = A + I, rows divided by their
   * sum. Null while a layer it needs is not here.
   */
  rollout({ layer, fusion, query, direction }) {
    const { tokens } = this.info;
    const order = Array.from({ length: layer + 1 }, (_, at) => (direction === "from" ? layer - at : at));
    let mix = new Float64Array(tokens);
    mix[query] = 1;
    for (const index of order) {
      const matrix = this.#fuse(index, fusion);
      if (!matrix) return null;
      mix = (direction === "from" ? rowTimes : timesColumn)(matrix, mix);
    }
    return Float32Array.from(mix);
  }

  /**
   * A layer's Â of all heads together, kept once made.
   * @param {number} layer
   */
  #fuse(layer, fusion) {
    const pack = this.layer(layer);
    if (!pack) return null;
    const key = `${layer} ${fusion}`;
    if (!this.#fused.has(key)) this.#fused.set(key, residual(pack, this.info, fusion));
    return this.#fused.get(key);
  }
}

/** A + I with each row divided by its sum; heads fused by their "mean" or "max". */
function residual(pack, { heads, tokens }, fusion) {
  const matrix = new Float32Array(tokens * tokens);
  for (let query = 0; query < tokens; query += 1) {
    let sum = 1;
    for (let key = 0; key < tokens; key += 1) {
      const value = fuse(heads, fusion, (head) => pack.value(head * tokens + query, key));
      matrix[query * tokens + key] = value;
      sum += value;
    }
    matrix[query * tokens + query] += 1;
    for (let key = 0; key < tokens; key += 1) matrix[query * tokens + key] /= sum;
  }
  return matrix;
}

function rowTimes(matrix, row) {
  const size = row.length;
  const result = new Float64Array(size);
  for (let query = 0; query < size; query += 1) {
    const weight = row[query];
    if (!weight) continue;
    const start = query * size;
    for (let key = 0; key < size; key += 1) result[key] += weight * matrix[start + key];
  }
  return result;
}

function timesColumn(matrix, column) {
  const size = column.length;
  const result = new Float64Array(size);
  for (let query = 0; query < size; query += 1) {
    let sum = 0;
    for (let key = 0; key < size; key += 1) sum += matrix[query * size + key] * column[key];
    result[query] = sum;
  }
  return result;
}
