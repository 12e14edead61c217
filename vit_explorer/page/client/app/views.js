// The views in the order of their tabs; each is fetched when it is first wanted.

const from = (file, name) => () => import(`../views/${file}/${file}_view.js`).then((module) => module[name]);

/** A view's name to a function that fetches what makes it of the page's context. */
export const VIEWS = {
  explain: from("explain", "createExplainView"),
  attention: from("attention", "createAttentionView"),
  patches: from("patches", "createPatchesView"),
  positions: from("positions", "createPositionsView"),
  layers: from("layers", "createLayersView"),
  whatif: from("whatif", "createWhatIfView"),
  compare: from("compare", "createCompareView"),
  model: from("model", "createModelView"),
  training: from("training", "createTrainingView"),
  data: from("data", "createDataView"),
  learn: from("learn", "createLearnView"),
};

/** Fetch the other views too, so that turning to one is quick, and works when the server is gone. */
export async function fetchViews() {
  for (const fetchView of Object.values(VIEWS)) await fetchView();
}
