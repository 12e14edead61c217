// The steps of the walk in their order. Each has `tab`, the view it opens, with what `opens(state)` sets there; `values(state)` for its
// sentences; `formula(model)`; `create(context)`, its figure; `map(store, state)` over the picture,
// with `detail(state)` for its caption and `python(state)`, the code that makes it.

import { explanations, prediction } from "./answer.js";
import { scores, softmax } from "./attention.js";
import { depth, residual } from "./blocks.js";
import { heads } from "./heads.js";
import { embedding, patches, positions } from "./tokens.js";

export const STEPS = {
  patches,
  embedding,
  positions,
  scores,
  softmax,
  heads,
  residual,
  depth,
  prediction,
  explanations,
};
