// What of each view goes into a link.

import { LINKS as attentionLinks } from "../views/attention/attention_links.js";
import { LINKS as compareLinks } from "../views/compare/compare_links.js";
import { LINKS as dataLinks } from "../views/data/data_links.js";
import { LINKS as explainLinks } from "../views/explain/explain_links.js";
import { LINKS as layersLinks } from "../views/layers/layers_links.js";
import { LINKS as learnLinks } from "../views/learn/learn_links.js";
import { LINKS as patchesLinks } from "../views/patches/patches_links.js";
import { LINKS as positionsLinks } from "../views/positions/positions_links.js";
import { LINKS as trainingLinks } from "../views/training/training_links.js";
import { LINKS as whatifLinks } from "../views/whatif/whatif_links.js";

export const VIEW_LINKS = [
  ...explainLinks,
  ...attentionLinks,
  ...patchesLinks,
  ...layersLinks,
  ...positionsLinks,
  ...whatifLinks,
  ...compareLinks,
  ...trainingLinks,
  ...dataLinks,
  ...learnLinks,
];
