// Every sentence of the page, so that another language is one more table.

const ENGLISH = {
  "action.choose": "Choose a picture",
  "action.photo": "Take a photo",
  "action.download": "Download",
  "action.download.title": "The explanation as a zip: overlays, heatmaps.npz and explanation.json",
  "action.load": "Load",
  "action.theme": "Light or dark",
  "action.dismiss": "Dismiss",
  "action.capture": "Take it",
  "action.cancel": "Cancel",

  "tab.explain": "Explain",
  "tab.attention": "Attention",
  "tab.patches": "Patches",
  "tab.positions": "Positions",
  "tab.model": "Model",
  "tab.training": "Training",
  tabs: "Views",
  sidebar: "Picture and predictions",

  "picture.caption": "{name} · {width}×{height}",
  "picture.part": "The bright part is what the model sees.",
  "picture.all": "The model sees all of it.",
  "picture.how": "Drop or paste one anywhere.",
  "picture.alt": "{name}, with the part the model sees bright",
  "picture.examples": "Examples",
  "picture.example": "Explain {name}",
  "picture.drop": "Drop the picture to explain it",
  "picture.tooLarge":
    "The picture has {size} MB, but at most {limit} MB can be sent; make it smaller and try again.",
  "picture.notPasted": "The clipboard holds no picture; copy one and paste again.",
  "camera.title": "Take a photo",
  "camera.none": "No camera could be opened: allow it in the browser, or choose a picture instead.",

  "predictions.title": "Predictions",
  "predictions.hint": "Choose one to explain it.",
  "predictions.other": "Explaining {label}, {share}",
  "classes.label": "Explain another class",
  "classes.hint": "Explain another class…",
  "classes.none": "No class is called “{words}”; type a part of a class's name.",
  "predictions.none": "This model has no classifier; maps that need a class are left out.",
  time: "Explained on {device} in {seconds}",

  "model.label": "Model",
  "model.empty": "The model's name is empty; type one, or choose one of the list.",
  "model.hint": "bundled, or any timm name",

  "explain.target": "Explaining",
  "tool.opacity": "Opacity",
  "tool.colormap": "Colours",
  "tool.sampling": "Cells of the map",
  "tool.smooth": "smooth",
  "tool.patches": "patches",
  "tool.extent": "Part of the picture",
  "tool.crop": "crop",
  "tool.whole": "whole",
  "tool.scale": "Scale",
  "tool.own": "own",
  "tool.shared": "shared",
  "explain.seen": "What the model sees",
  "explain.seen.caption":
    "{width}×{height} pixels in {patches} patches; all maps rest on these alone.",
  "explain.seen.keys":
    "What the model sees; arrow keys choose a patch, whose value every map then shows",
  "explain.caveat": "What to beware of: {title}",
  "explain.target.none": "no class",
  "explain.noClass": "same for every class",
  "explain.zero": "zero everywhere",
  "explain.skipped": "Left out: {titles} ({why}).",
  "explain.reading": "How to read these maps",
  "explain.reading.scale":
    "Each bar carries the map's own values. Methods count in different units: only rollout and attention, both shares, can share a scale.",
  "explain.reading.point":
    "Point at any map: all mark the same patch and show its value.",
  "explain.reading.trust":
    "A map shows where a method looks for reasons, not proof that the model used them. Methods that disagree are a reason to doubt them all.",

  glossary: "What the words mean",
  "glossary.class": "Class token",
  "glossary.class.text":
    "An extra token that stands for no patch. It collects from the others, and the prediction is read from it.",
  "glossary.logit": "Logit",
  "glossary.logit.text": "A class's score before scores are turned into probabilities.",
  "glossary.residual": "Residual",
  "glossary.residual.text":
    "Each layer adds to its tokens instead of replacing them; what is carried past it unchanged is the residual.",
  "glossary.query": "Query",
  "glossary.query.text": "The token that looks: its row of attention says how much it takes from each.",
  "glossary.pin": "Pin",
  "glossary.pin.text": "To keep a patch chosen by a click, in every view, when the pointer moves on.",

  "attention.layer": "Layer",
  "attention.heads": "Heads",
  "attention.mean": "mean",
  "attention.max": "max",
  "attention.direction": "Direction",
  "attention.from": "looks at",
  "attention.to": "is looked at by",
  "attention.index": "Layer × head, {token}",
  "attention.index.one": "Layer {layer}, head {head}",
  "attention.help":
    "Point, or use the arrow keys, to choose the query; a click pins it in every view. Esc: {token}. Page up and down: layers.",
  "attention.help.none":
    "Point, or use the arrow keys, to choose the query; a click pins it in every view. Page up and down: layers.",
  "attention.canvas": "Attention over the picture's patches; arrow keys choose the query patch",
  "attention.says.from": "{query} looks most at row {row}, column {column} ({top}). {prefix}",
  "attention.says.to":
    "{query} is looked at most by row {row}, column {column}, which gives it {top}. {prefix}",
  "attention.prefix": "Besides the patches: {shares}.",
  "attention.waiting": "Fetching this layer's attention…",
  "attention.failed":
    "This layer's attention could not be fetched; choose the prediction again to bring it back.",

  "distance.title": "How far each head looks",
  "distance.help":
    "One dot a head: the mean distance, in pixels, from a patch to what it looks at. Choose a dot to show its head.",
  "distance.one": "Layer {layer}, head {head}: {distance} pixels",
  "distance.text": "Mean attention distances from {low} to {high} pixels",

  "token.patch": "patch row {row}, column {column}",
  "token.class": "class token",
  "token.distillation": "distillation token",
  "token.other": "{name}",

  "patches.canvas": "The picture cut into numbered patches; arrow keys choose one",
  "patches.grid": "{count} patches of {height}×{width} pixels",
  "patches.grid.help":
    "The picture is cut along these lines, and each square becomes one token.",
  "patches.steps": "From picture to tokens",
  "patches.step.picture": "picture",
  "patches.step.unfold": "cut into patches, each laid out in a line",
  "patches.step.embed": "times one {from}×{to} matrix, plus a bias",
  "patches.step.prefix": "after adding the {names}",
  "patches.step.positions": "plus a position each: what enters layer 1",
  "patches.one": "Patch {number}",
  "patches.one.where":
    "Row {row}, column {column}. Its {count} numbers, {channels} a pixel, become the {dim} of token {token}.",
  "patches.check": "A patch embedding is a convolution",
  "patches.check.text":
    "Cutting and multiplying by hand, and the model's own convolution with stride {stride}, give the same {count} numbers: the largest difference is {error}.",
  "patches.check.none":
    "This model has no single convolution that cuts its patches, so there is nothing to compare.",

  "positions.canvas":
    "Similarity of the chosen patch's position embedding to all others; arrow keys choose a patch",
  "positions.one": "How alike positions are to {token}",
  "positions.help":
    "Cosine similarity of the {kind} position embeddings: no picture is involved. Nearby positions are usually alike, and so are rows and columns.",
  "positions.says":
    "Most alike: row {row}, column {column} ({value}). Least: row {lowRow}, column {lowColumn} ({low}).",
  "positions.all": "All of them at once",
  "positions.all.help":
    "One small map a position, laid out as the patches are (figure 7 of the ViT paper). Click one.",
  "positions.none": "There is nothing to compare here",

  "model.card": "What was detected",
  "model.saw": "What the model saw",
  "model.saw.caption": "Exactly {width}×{height} pixels, as they entered the first layer",
  "model.crop": "The same crop, as you see it",
  "model.crop.caption": "Left, top, right, bottom in the picture: {box}",

  "film.play": "Play",
  "film.pause": "Pause",
  "film.epoch": "Epoch",
  "film.start": "Before training",
  "film.where": "Epoch {epoch} of {last} · test accuracy {accuracy}",
  "film.none": "No training film",
  "film.positions": "Position similarity",
  "film.positions.help": "One small map a position: its cosine similarity to all others.",
  "film.positions.none":
    "There are no maps: this model adds no position embeddings, or has too many positions to send.",
  "film.filters": "Patch filters",
  "film.filters.help": "Principal components of the embedding, the strongest first.",
  "film.distance": "How far heads look",
  "film.distance.help":
    "On {name}: one dot a head, in pixels. Tokens before the patches count as 0.",
  "film.probes": "Probe pictures",
  "film.probe": "Rollout over {name}",
  "film.pictures": "What it makes of these pictures",
  "film.pictures.help": "Rollout, on one scale for all pictures and epochs.",
  "curves.loss": "Loss",
  "curves.accuracy": "Accuracy",
  "curves.train": "train",
  "curves.test": "test",
  "curves.text": "{name} at epoch {epoch}: train {train}, test {test}",

  "train.title": "Train a model here",
  "train.off":
    "This page may not train: its server was started without --allow-training. On the command line, vit-explorer train does the same.",
  "train.recipe": "Recipe",
  "train.data": "Data on the server",
  "train.data.help":
    "Data: cifar10, or a folder with one folder of pictures a class, directly or under train/ and test/.",
  "train.epochs": "Epochs",
  "train.start": "Start",
  "train.stop": "Stop",
  "train.resume": "Resume",
  "train.open": "Open in explorer",
  "train.speed": "{speed} pictures/s.",
  "train.measuring": "Measuring the result…",
  "train.state.running": "Epoch {epoch} of {epochs}…",
  "train.state.stopping": "Stopping, and keeping what was learned…",
  "train.state.stopped": "Stopped after {done} of {epochs} epochs; resume goes on from there.",
  "train.state.finished": "Finished: {done} epochs.",
  "train.state.failed": "Failed after {done} of {epochs} epochs.",
  "train.runs": "Runs",
  "train.folder": "Kept in {folder}",
  "train.run": "Run",
  "train.accuracy": "Test accuracy",
  "train.state": "State",
  "train.actions": "Actions",
  "train.active": "training",
  "train.finished": "finished",
  "train.paused": "stopped",

  "state.first": "Explaining the first picture…",
  "state.working": "Explaining {name}…",
  "state.offline": "The page has lost its server. Start it again, and reload.",
};

/** The sentence `key`, with `{name}` places filled in. */
export function t(key, values = {}) {
  const sentence = ENGLISH[key];
  if (sentence === undefined) throw new Error(`no words for ${key}`);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
