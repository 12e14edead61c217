// The steps of the walk in their order. Each has `tab`, the view it opens, with what `opens(state)`
// sets there; `values(state, facts)` for its sentences and `formula(model, facts)`, where the facts
// of the model's build are those of `walk` if the step `builds` on them (null for sentences while
// they are not here); `kinds(model, facts)`, the endings of its sentences' keys where it has several;
// `create(context)`, its figure; `map(store, state)` over the picture, with `detail(state)` for its
// caption and `code(state)`, what copied code makes.

import { embedding, patches, positions } from "../../controls/token_tables.js";
import { explanations, prediction } from "./answer.js";
import { scores, softmax } from "./attention.js";
import { depth, residual } from "./blocks.js";
import { heads } from "./heads.js";

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
