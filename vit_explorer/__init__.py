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
from vit_explorer.methods import Heatmap, Method
from vit_explorer.pictures import Picture, Prepared
from vit_explorer.trace import Trace

__all__ = [
    "METHODS",
    "Explanation",
    "ExplorerError",
    "Heatmap",
    "LoadedModel",
    "Method",
    "ModelCard",
    "PatchEmbeddingCheck",
    "Picture",
    "Prediction",
    "Prepared",
    "Trace",
    "available_models",
    "check_patch_embedding",
    "explain",
    "load_model",
    "open_picture",
    "patch_grid",
    "position_similarity",
    "trace",
]
