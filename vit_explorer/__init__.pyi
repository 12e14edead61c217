# What `import vit_explorer as vx` offers; `__init__.py` imports each where it is first used.

from .analysis.border_relevance import BorderRelevance, border_relevance
from .analysis.contributions import Contributions, contributions
from .analysis.disagreement import disagreements
from .analysis.faithfulness import Faithfulness, Score, faithfulness
from .analysis.feature_components import FeatureComponents, feature_components
from .analysis.head_statistics import (
    attention_distance,
    attention_entropy,
    attention_variation,
)
from .analysis.intervention_result import Change, Intervention
from .analysis.interventions import intervene, intervene_many
from .analysis.logit_lens import LogitLens, logit_lens
from .analysis.map_clusters import MapClusters, cluster_maps
from .analysis.patch_lens import PatchLens, patch_lens
from .analysis.patch_matches import PatchMatches, patch_matches
from .analysis.patch_words import patch_words
from .analysis.patching import HeadAblation, Patched, ablate_heads, patch_activations
from .analysis.pointing import Pointing, pointing_game
from .analysis.position_components import position_components
from .analysis.query_key_space import QueryKeySpace, query_key_space
from .analysis.readout_path import ReadoutPath, readout_path
from .analysis.tokens import (
    Artifacts,
    PatchEmbeddingCheck,
    artifacts,
    check_patch_embedding,
    patch_grid,
    token_similarity,
)
from .analysis.weight_randomisation import weight_randomisation
from .analysis.weights import PatchFilters, patch_filters, position_similarity
from .cluster.engine import RayEngine
from .datasets.diagnosis import Diagnosis, Finding
from .datasets.doctor import doctor
from .datasets.evaluate import evaluate
from .datasets.evaluation import ClassMetrics, Evaluation
from .datasets.metrics import Metrics
from .datasets.paired import Paired, PairedClasses
from .errors import ExplorerError
from .explaining.explain import explain, explain_many
from .explaining.explanation import Explanation
from .explaining.folders import explain_folder
from .explaining.relevance_maps import RelevanceMaps, relevance_maps, token_embeddings
from .explaining.report import save_report
from .explaining.summary import Outcome
from .explaining.views import VIEWS, View, save_views
from .methods import METHODS, Heatmap, Method
from .models.card import ModelCard
from .models.compared import with_pictures, with_words
from .models.loaded import LoadedModel
from .models.onnx_export import OnnxExport, export_onnx
from .models.predictions import Prediction
from .models.zoo import available_models, load_model
from .pictures.decode import Picture, open_picture
from .pictures.preprocess import Prepared
from .tracing.trace import Trace, trace
from .training.compared_runs import RunComparison, RunPair, compare_runs
from .training.film_callback import TrainingFilm
from .training.recorded_runs import RecordedRun
from .version import __version__

__all__ = [
    "METHODS",
    "VIEWS",
    "Artifacts",
    "BorderRelevance",
    "Change",
    "ClassMetrics",
    "Contributions",
    "Diagnosis",
    "Evaluation",
    "Explanation",
    "ExplorerError",
    "Faithfulness",
    "FeatureComponents",
    "Finding",
    "HeadAblation",
    "Heatmap",
    "Intervention",
    "LoadedModel",
    "LogitLens",
    "MapClusters",
    "Method",
    "Metrics",
    "ModelCard",
    "OnnxExport",
    "Outcome",
    "Paired",
    "PairedClasses",
    "PatchEmbeddingCheck",
    "PatchFilters",
    "PatchLens",
    "PatchMatches",
    "Patched",
    "Picture",
    "Pointing",
    "Prediction",
    "Prepared",
    "QueryKeySpace",
    "RayEngine",
    "ReadoutPath",
    "RecordedRun",
    "RelevanceMaps",
    "RunComparison",
    "RunPair",
    "Score",
    "Trace",
    "TrainingFilm",
    "View",
    "__version__",
    "ablate_heads",
    "artifacts",
    "attention_distance",
    "attention_entropy",
    "attention_variation",
    "available_models",
    "border_relevance",
    "check_patch_embedding",
    "cluster_maps",
    "compare_runs",
    "contributions",
    "disagreements",
    "doctor",
    "evaluate",
    "explain",
    "explain_folder",
    "explain_many",
    "export_onnx",
    "faithfulness",
    "feature_components",
    "intervene",
    "intervene_many",
    "load_model",
    "logit_lens",
    "open_picture",
    "patch_activations",
    "patch_filters",
    "patch_grid",
    "patch_lens",
    "patch_matches",
    "patch_words",
    "pointing_game",
    "position_components",
    "position_similarity",
    "query_key_space",
    "readout_path",
    "relevance_maps",
    "save_report",
    "save_views",
    "token_embeddings",
    "token_similarity",
    "trace",
    "weight_randomisation",
    "with_pictures",
    "with_words",
]
