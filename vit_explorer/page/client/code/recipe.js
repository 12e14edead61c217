// Code that makes what is shown again: as Python, and as a command.

const text = (value) => JSON.stringify(value);
const word = (value) => (/^[\w./:=,@+-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);

/**
 * An example's own path; of any other picture the page knows the name alone.
 * @param {State} state
 */
function picturePath({ result }) {
  const { name } = result.picture;
  return result.place.picture === name ? `assets/${name}` : name;
}

/**
 * How a model is loaded; of a module that was passed in only its own program knows.
 * @param {LoadArguments} load
 */
function loading({ model, module, ...options }) {
  if (module)
    return [
      `# model = vx.load_model(module, …) as in the program that passed this page its ${model}`,
      `# (of ${module}).`,
    ];
  const named = Object.entries(options).map(([name, value]) => `${name}=${python(value)}`);
  return [`model = vx.load_model(${[text(model), ...named].join(", ")})`];
}

/** Whether a command can load a result's model. */
export const isNamed = ({ model }) => !model.load.module;

/**
 * Python: the model and the picture, then `lines`.
 * @param {State} state
 */
export function code(state, lines) {
  return [
    "import vit_explorer as vx",
    "",
    ...loading(state.result.model.load),
    ...pictureLines(state),
    ...lines,
    "",
  ].join("\n");
}

/** The picture's path, opened as it was chosen on the page. */
function pictureLines(state) {
  const { opened } = state.result.picture;
  const path = text(picturePath(state));
  const options = Object.entries(opened).map(([name, value]) => `${name}=${python(value)}`);
  if (!options.length) return [`picture = ${path}`];
  return [`picture = vx.open_picture(${[path, ...options].join(", ")})`];
}

function python(value) {
  if (Array.isArray(value)) return `(${value.join(", ")})`;
  if (typeof value === "object")
    return `{${Object.entries(value).map(([name, each]) => `${text(name)}: ${python(each)}`).join(", ")}}`;
  return value === false ? "False" : text(value);
}

/**
 * The command `explain` with the model, the target and `options`, such as ["--method", "rollout"].
 * @param {State} state
 */
export function command(state, options) {
  const { model, weights, labels, pretrained, preprocess, outputs, ...sizes } =
    state.result.model.load;
  const words = ["vit-explorer", "explain", picturePath(state), "--model", model];
  const { bands, stretch } = state.result.picture.opened;
  if (bands) words.push("--bands", bands.join(","));
  if (stretch) words.push("--stretch", [stretch].flat().join(","));
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
