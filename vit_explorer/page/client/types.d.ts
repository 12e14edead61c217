// The page's data, for the checker of the scripts' types (`tsc`): what the server sends, what the
// store holds, and what the parts of the page hand one another. No script loads this file.

/** A sentence of the server's: in English, and by its key and values, which may be such sentences. */
interface Said {
  text: string;
  key?: string;
  values?: Record<string, string | Said>;
}

/** A language of the page: its file's name, its tag for browsers, and its own name. */
interface Language {
  code: string;
  tag: string;
  name: string;
}

type Pair = [number, number];
type Numbers = number[] | Float32Array;
/** A colour and the width of the line drawn in it. */
type Stroke = [colour: string, width: number];
type Box = [left: number, top: number, right: number, bottom: number];

// ---- What the server sends ----

/** A class with its probability (null where the model returns values) and its score. */
interface Prediction {
  index: number;
  label: string;
  probability: number | null;
  score: number;
}

/**
 * What is explained: `name` is what to ask for it by, `of` the label without a "not", `rather` the
 * class which it is set against.
 */
interface Target extends Prediction {
  name: string | number;
  negated: boolean;
  of: string;
  rather: { index: number; label: string } | null;
}

interface MethodMap {
  name: string;
  source: string;
  signed: boolean;
  class_specific: boolean;
  unit: string;
}

/** One heatmap: its method, and its values row by row. */
interface Heatmap extends MethodMap {
  id: string;
  layer?: number;
  target_label: string | null;
  limits: Pair;
  note: Said | null;
  grid: Pair;
  values: Numbers;
}

/** A method as the setup lists it. */
interface Method {
  name: string;
  shown: boolean;
  /** Among the methods that were measured, from 1: how far it is to be believed. */
  place: number | null;
  taught: boolean;
  slow: boolean;
  brief: boolean;
  layered: boolean;
  needs: string[];
}

/** What makes a figure again; the command is null where none does. */
interface Code {
  python: string;
  command: string | null;
}

interface Model {
  id: string;
  key: string;
  name: string;
  device: string;
  grid: Pair;
  patch: Pair;
  image: Pair;
  channels: number;
  left_over: Pair;
  means_of_three: boolean;
  overlap: boolean;
  convolution: boolean;
  attends: string;
  protocols: Protocol[];
  own_order: boolean;
  own_transform: boolean;
  prefix: string[];
  depth: number;
  heads: number;
  dim: number;
  position: string;
  labels: string | null;
  source: Said;
  weights_notes: Said[];
  parameters: number;
  judged: string | null;
  accuracy: number | null;
  measured: Measured;
  calibration: { temperature: number; pictures: number } | null;
  trained_on: Said | null;
  tokens: number;
  head_width: number;
  pooling: string;
  two_heads: boolean;
  classes: number;
  outputs: "classes" | "labels" | "probabilities" | "value" | "embedding";
  outputs_found: Said;
  sums_to_one: boolean;
  ends_in: string;
  activation: string | null;
  few_labels: string[];
  reads_words: boolean;
  labels_zh: Record<string, string>;
  labels_source: Said;
  mean: number[];
  std: number[];
  interpolation: string;
  crop: number;
  tier: 1 | 2;
  reason: Said | null;
  stages: { name: string; grid: Pair }[];
  usual: string[];
  lacks: string[];
  tabs: Record<string, string>;
}

type Measured = "test" | "held_out";

interface AttentionInfo {
  url: string;
  depth: number;
  heads: number;
  tokens: number;
  prefix: number;
  whole: boolean;
  /** The attention as it arrives: the page's own, the server sends none. */
  data: import("./server/attention_data.js").Attention;
}

interface PictureInfo {
  name: string;
  width: number;
  height: number;
  url: string;
  opened: { bands?: number[]; stretch?: string | number[] };
  bands?: { count: number; shown: number[] };
  stretch?: { rule: string; low: number; high: number; bits: number | null };
}

/** Everything the page shows of one picture, model and target at once. */
interface Result {
  key: string;
  pass: string;
  version: string;
  download: string;
  picture: PictureInfo;
  box: Box;
  box_known: boolean;
  seen: { width: number; height: number; url: string };
  model: Model;
  predictions: Prediction[];
  target: Target | null;
  unsure: boolean;
  maps: Heatmap[];
  skipped: Record<string, Said>;
  attention: AttentionInfo;
  positions: { url?: string; large?: boolean; values?: Float32Array | null };
  patches: { error: number; largest: number } | null;
  film: { url?: string };
  seconds: number;
  /** What was asked for: the page's own, the server sends none. */
  place: Place;
}

/** A result as the server sends it. */
type SentResult = Omit<Result, "place" | "attention"> & { attention: Omit<AttentionInfo, "data"> };

interface Setup {
  model: string;
  words: Record<string, string>;
  languages: Language[];
  methods: Method[];
  models: string[];
  downloaded: string[];
  shipped: Record<string, string>;
  examples: { name: string; url: string }[];
  colormaps: Record<string, number[]>;
  diverging: string;
  floor: number;
  max_bytes: number;
  max_upload: Record<string, number>;
  endings: Record<string, string[]>;
  training: boolean;
}

/** A model of the gallery, and what of it is on the server. */
interface Exhibit {
  name: string;
  title: string;
  size: number;
  classes: number | null;
  image_size: Pair;
  here: boolean;
  part: number;
  lacks: string;
}

/** How long a model has been loading, and the bytes that are here where it is downloaded. */
interface Loading {
  loading: string;
  seconds: number;
  here?: number;
  total?: number;
}

interface Score {
  insertion: number;
  deletion: number;
}

type Protocol = "pixels" | "tokens";

/** How maps fare beside a Gaussian in the middle and random maps. */
interface Trust {
  protocol: Protocol;
  of: number;
  maps: Record<
    string,
    Score & {
      insertion_curve: number[];
      deletion_curve: number[];
      beats: number;
      verdict: "good" | "middle" | "chance" | "worse";
      near: boolean;
    }
  >;
  middle: Score;
  random: Score & { insertion_curves: number[][]; deletion_curves: number[][] };
}

interface RunRow {
  epoch: number;
  [measure: string]: number;
}

/** The training under way, or the session's last. */
interface Training {
  run: string;
  recipe: string;
  epochs: number;
  /** Epochs without a gain that end it; null where only its last epoch does. */
  patience: number | null;
  state: "running" | "stopping" | "stopped" | "finished" | "failed";
  rows: RunRow[];
  step: { epoch: number; step: number; steps: number; loss: number; seconds_left: number | null } | null;
  notes: Said[];
  measured: Measured;
  error: Said;
  has_weights: boolean;
}

interface Runs {
  folder: string;
  /** `position` is null where a recipe's model has its own, which can't be chosen. */
  recipes: {
    name: string;
    epochs: number;
    position: string | null;
    lr: number;
    batch_size: number;
    class_weights: boolean;
  }[];
  choices: { positions: string[]; weights: string[] };
  runs: {
    name: string;
    epochs: number;
    measured: Measured;
    accuracy: number | null;
    finished: boolean;
    training: boolean;
    has_weights: boolean;
  }[];
  now: Training | null;
}

/** Runs side by side; `test` columns are of the `measured` pictures. */
interface ComparedRuns {
  runs: {
    name: string;
    measured: Measured;
    epochs: number[];
    train_loss: number[];
    train_accuracy: number[];
    test_loss: number[];
    test_accuracy: number[];
  }[];
  differs: { of: "recipe" | "run"; setting: string; values: string[] }[];
  said: Said[];
  notes: Said[];
}

/** What was predicted of each of many pictures; labels and predictions are places in `classes`. */
interface PredictionTable {
  classes: string[];
  pictures: string[];
  labels: Int32Array;
  predicted: Int32Array;
  probability: Float32Array;
  count: number;
}

/** A data set that is open: `model` predicted as the page calls it, `of` as its files do. */
interface DataSet {
  key: string;
  model: string | null;
  of: string;
  data: string;
  count: number;
  pictures: number;
  most: number;
  note: Said;
  table: PredictionTable;
}

/** Which pictures of a set are shown: -1 is any class. */
interface DataFilter {
  label: number;
  predicted: number;
  verdict: string;
  sure: string;
}

/** What a model looks at in some pictures, and how many were shown when it was asked. */
interface DataLooks {
  method: string;
  grid: Pair;
  mean: number[];
  places: number[];
  border: { ratio: number; corners: Record<string, number> } | null;
  clusters: { labels: number[]; means: number[][]; silhouette: number } | null;
  count: number;
}

/** Numbers of a view: facts, and arrays by name with their shapes. */
interface Packed {
  facts: Record<string, any>;
  arrays: Record<string, any>;
  shapes: Record<string, number[]>;
}

// ---- What the store holds ----

interface Place {
  model: string;
  picture: string;
  target: string | number | null;
}

interface Edit {
  patches: number[];
  heads: number[];
  how: "drop" | "grey";
}

type Head = "mean" | "max" | number;

/** A result made ready to draw. */
interface Ready {
  result: Result;
  image: import("./maps/picture.js").PixelSource;
  seen: HTMLImageElement;
}

interface State extends Ready {
  busy: string;
  /** What the server last told of a model that is waited for. */
  loading: Loading | null;
  problem: string;
  /** Models that a problem names in place of the one that can't be had; `again` is that one itself. */
  instead: { of: string; models: string[]; again: string };
  told: string;
  tab: string;
  linked: Record<string, string>;
  hover: number | null;
  pinned: number;
  layer: number;
  head: Head;
  direction: "from" | "to";
  rolled: boolean;
  mass: number;
  methods: string[] | null;
  mapLayers: Record<string, number>;
  byLayerOpen: boolean;
  pair: [string, string] | null;
  opacity: number;
  colormap: string;
  smooth: boolean;
  whole: boolean;
  shared: boolean;
  /** How maps are compared with chance; "" is the last that the model allows. */
  protocol: Protocol | "";
  theme: string;
  language: string;
  edit: Edit;
  editOf: [model: string, pass: string];
  editPast: Edit[];
  editFuture: Edit[];
  brush: number;
  brushAt: number | null;
  ranking: string;
  curveAsked: boolean;
  step: number;
  presenting: boolean;
  slide: number;
  learnt: boolean;
  stage: string;
  pixel: number;
  patchLens: string;
  positionsPart: string;
  gridScale: number;
  other: Ready | null;
  otherWanted: { kind: string; name: string; label?: string } | null;
  otherKind: string;
  otherBusy: string;
  otherProblem: string;
  twin: { hover?: Pair; pinned?: Pair };
  comparePart: string;
  compareMethod: string;
  compareShared: boolean;
  film: import("./state/film.js").Film | null;
  filmOf: string;
  filmProblem: { key?: string; text?: string } | null;
  frame: number;
  epochWanted: number | null;
  trainForm: {
    recipe: string;
    data: string;
    epochs: string;
    position: string;
    lr: string;
    batch: string;
    weights: string;
    classWeights: string;
  };
  probe: number;
  playing: boolean;
  runs: Runs | null;
  comparedRuns: string[];
  training: Training | null;
  dataSet: DataSet | null;
  dataWanted: string;
  dataForm: { kind: string; place: string; data: string; run: string };
  dataFilter: DataFilter;
  dataOrder: string;
  dataClasses: { by: string; rising: boolean };
  dataJob: { what: "open" | "looks" | "points" | "queries" | "maps"; done: number; total: number | null } | null;
  dataLooks: DataLooks | null;
  dataPoints: { places: number[]; x: number[]; y: number[]; explained: Pair } | null;
  dataQueryKeys: DataQueryKeys | null;
  dataMaps: Map<number, DataMap>;
  dataColour: string;
  dataTokenColour: string;
}

interface DataMap {
  place: number;
  method: string;
  image: string;
  beats: number;
  of: number;
  verdict: string;
}

interface DataQueryKeys {
  places: number[];
  asked: number[];
  count: number;
  cells: (number[] | null)[];
  grid: Pair;
  prefix: string[];
  layer: number;
  layers: number;
  head: number;
  heads: number;
  layout: string;
  x: number[];
  y: number[];
  explained: Pair | null;
  agreement: number;
  drawn_agreement: number;
  biased: boolean;
}

interface Store {
  get(): State;
  set(values: Partial<State>): void;
  on(keys: readonly (keyof State)[], listener: (state: State) => void): void;
  effect(work: (state: State) => void): void;
}

/** The page's own store, which a page that is built anew can empty of listeners. */
interface RootStore extends Store {
  mark(): () => void;
  announce(): void;
}

// ---- What the parts of the page hand one another ----

/** What draws on a canvas, on the page or off it. */
type Painter = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

type Actions = ReturnType<typeof import("./app/actions.js").createActions> & {
  other: ReturnType<typeof import("./state/second_result.js").followOther>;
};

interface Context {
  store: Store;
  setup: Setup;
  actions: Actions;
  signal: AbortSignal;
}

/** A view: its node, which its effects keep drawn. */
interface View {
  node: HTMLElement;
}

/** What of the store goes into a link, under which `name`. */
interface LinkEntry {
  name: string;
  keys: (keyof State)[];
  /** What stays as the reader has it where a link doesn't name it. */
  setting?: boolean;
  write(state: State): string | number | null;
  read(text: string, result: Result): Record<string, any> | null;
}
