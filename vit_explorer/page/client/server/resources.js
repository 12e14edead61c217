// What is fetched, each thing once: it is loading, failed or ready, and effects that read it run again
// when that changes.

import { Source } from "../base/effects.js";

/** One thing that is fetched, or is to be. */
class Resource {
  /** @type {"idle" | "loading" | "failed" | "ready"} */
  status = "idle";
  /** @type {any} */
  value = null;
  /** @type {Error | null} */
  error = null;
  source = new Source();
}

/** Things that are fetched, by their keys; those not read for longest go where there are too many. */
export class Resources {
  /** @type {Map<string, Resource>} */
  #held = new Map();
  #any = new Source();

  constructor(kept = Infinity) {
    this.kept = kept;
  }

  /**
   * A thing by its key, asked for with `load` where nobody has yet.
   * @param {string} key
   * @param {() => Promise<any>} load
   */
  read(key, load) {
    const one = this.peek(key);
    if (one.status === "idle") this.load(key, load).catch(() => {}); // who reads it sees that it failed
    return one;
  }

  /**
   * A thing by its key as it is, without asking for it.
   * @param {string} key
   */
  peek(key) {
    const one = this.#held.get(key) ?? new Resource();
    // As the newest.
    this.#held.delete(key);
    this.#held.set(key, one);
    if (this.#held.size > this.kept) this.#held.delete(this.#held.keys().next().value);
    one.source.track();
    return one;
  }

  /**
   * Ask for a thing unless it is here or on its way; the promise fails where it can't be had, which
   * may be tried again.
   * @param {string} key
   * @param {() => Promise<any>} load
   */
  async load(key, load) {
    const one = this.peek(key);
    if (one.status === "loading" || one.status === "ready") return one.value;
    one.status = "loading";
    try {
      one.value = await load();
      this.#become(one, { status: "ready", error: null });
    } catch (error) {
      this.#become(one, { status: "failed", error });
      throw error;
    }
    return one.value;
  }

  /**
   * Hold what came in another way.
   * @param {string} key
   */
  put(key, value) {
    this.#become(this.peek(key), { status: "ready", value, error: null });
  }

  /**
   * How many things have a status.
   * @param {"loading" | "failed" | "ready"} status
   */
  count(status) {
    this.#any.track();
    return [...this.#held.values()].filter((one) => one.status === status).length;
  }

  /** What could not be had may be asked for again. */
  forgetFailures() {
    for (const one of this.#held.values()) {
      if (one.status === "failed") this.#become(one, { status: "idle", error: null });
    }
  }

  #become(one, changes) {
    Object.assign(one, changes);
    one.source.changed();
    this.#any.changed();
  }
}
