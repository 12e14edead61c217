"""ViT Explorer: see how a Vision Transformer reads a picture, and whether to trust what you see."""

from vit_explorer.errors import ExplorerError
from vit_explorer.explain import (
    METHODS,
    Explanation,
    LoadedModel,
    ModelCard,
    PatchEmbeddingCheck,
    Prediction,
    available_models,
    check_patch_embedding,
    explain,
    load_model,
    open_picture,
    patch_grid,
    position_similarity,
    trace,
)
from vit_explorer.faithfulness import Faithfulness, Score, faithfulness, weight_randomisation
from vit_explorer.methods import Heatmap, Method
from vit_explorer.pictures import Picture, Prepared
from vit_explorer.trace import Trace
from vit_explorer.version import __version__

__all__ = [
    "METHODS",
    "Explanation",
    "ExplorerError",
    "Faithfulness",
    "Heatmap",
    "LoadedModel",
    "Method",
    "ModelCard",
    "PatchEmbeddingCheck",
    "Picture",
    "Prediction",
    "Prepared",
    "Score",
    "Trace",
    "__version__",
    "available_models",
    "check_patch_embedding",
    "explain",
    "faithfulness",
    "load_model",
    "open_picture",
    "patch_grid",
    "position_similarity",
    "trace",
    "weight_randomisation",
]
