// Code that makes what is shown again: as Python, and as a command.

const text = (value) => JSON.stringify(value);
const word = (value) => (/^[\w./:=,@+-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);

/** An example's own path; of any other picture the page knows the name alone. */
function picturePath({ result }) {
  const { name } = result.picture;
  return result.place.picture === name ? `assets/${name}` : name;
}

/** Python: the model and the picture, then `lines`. */
export function code(state, lines) {
  const { model, ...options } = state.result.model.load;
  const named = Object.entries(options).map(([name, value]) => `${name}=${python(value)}`);
  return [
    "import vit_explorer as vx",
    "",
    `model = vx.load_model(${[text(model), ...named].join(", ")})`,
    `picture = ${text(picturePath(state))}`,
    ...lines,
    "",
  ].join("\n");
}

function python(value) {
  if (Array.isArray(value)) return `(${value.join(", ")})`;
  if (typeof value === "object")
    return `{${Object.entries(value).map(([name, each]) => `${text(name)}: ${python(each)}`).join(", ")}}`;
  return value === false ? "False" : text(value);
}

/** The command `explain` with the model, the target and `options`, such as ["--method", "rollout"]. */
export function command(state, options) {
  const { model, weights, labels, pretrained, preprocess, outputs, ...sizes } =
    state.result.model.load;
  const words = ["vit-explorer", "explain", picturePath(state), "--model", model];
  if (weights) words.push("--weights", weights);
  if (labels) words.push("--labels", labels);
  for (const name of ["image_size", "weights_image_size"])
    if (sizes[name]) words.push(`--${name.replaceAll("_", "-")}`, ...sizes[name].map(String));
  for (const name of ["mean", "std"])
    if (preprocess?.[name]) words.push(`--${name}`, ...preprocess[name].map(String));
  if (outputs) words.push("--outputs", outputs);
  if (pretrained === false) words.push("--random");
  return `${[...words, ...options].map(word).join(" ")}\n`;
}
