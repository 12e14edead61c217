// What is drawn follows what it was drawn from: an effect runs again when anything that it read has
// changed, in the next frame, once for all the changes of a frame.

/** @type {Effect | null} */
let running = null;
let scheduled = false;
const due = new Set();
const first = new Set();

/** Something that effects read and that may change. */
export class Source {
  #readers = new Set();

  /** The effect that is running, if any, depends on this from now on. */
  track() {
    if (!running) return;
    this.#readers.add(running);
    running.sources.add(this);
  }

  changed() {
    for (const reader of this.#readers) due.add(reader);
    if (this.#readers.size) schedule();
  }

  /** @param {Effect} reader */
  leave(reader) {
    this.#readers.delete(reader);
  }
}

class Effect {
  sources = new Set();

  /** @param {() => void} work */
  constructor(work) {
    this.work = work;
  }

  run() {
    this.release();
    const outer = running;
    running = this;
    try {
      this.work();
    } finally {
      running = outer;
    }
  }

  release() {
    for (const source of this.sources) source.leave(this);
    this.sources.clear();
  }

  stop() {
    this.release();
    due.delete(this);
  }
}

/** Whether what is read now is read by an effect. */
export const isTracking = () => running !== null;

/**
 * Run `work` in the next frame, and again whenever what it read has changed; returns what ends that.
 * @param {() => void} work
 */
export function effect(work) {
  const made = new Effect(work);
  due.add(made);
  schedule();
  return () => made.stop();
}

/**
 * Run something in the next frame before its effects.
 * @param {() => void} job
 */
export function beforeEffects(job) {
  first.add(job);
  schedule();
}

/** Run what is due now, not in the next frame. */
export function runEffects() {
  const effects = [...due];
  due.clear();
  for (const one of effects) one.run();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const jobs = [...first];
    first.clear();
    for (const job of jobs) job();
    runEffects();
  });
}
