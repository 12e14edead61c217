// What a class is called in the page's language: by the model's own label, or by its Chinese name.

const chinese = new Map();

/**
 * Keep the Chinese names that a model's file brings, by its labels.
 * @param {Model} model
 */
export function learnNames({ labels_zh: names }) {
  for (const [label, name] of Object.entries(names ?? {})) chinese.set(label, name);
}

/** A label as the reader knows it. */
export function nameOf(label) {
  return document.documentElement.lang.startsWith("zh") ? (chinese.get(label) ?? label) : label;
}
