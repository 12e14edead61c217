"""Small models with a text tower and random weights, and a tokenizer of a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

VOCABULARY = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "photo", "of", "cat", "dog", "cup", "red"]
SIZE, PATCH, ROOM = 32, 8, 12


def tokenizer() -> Any:
    """Words by their place in the vocabulary, begun and ended as CLIP's are."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: at for at, word in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]",
        unk_token="[UNK]",
    )  # fmt: skip


def loud(module: nn.Module) -> nn.Module:
    """Random weights that are large enough for sentences and pictures to differ."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            with torch.no_grad():
                parameter.normal_(0, 0.25, generator=generator)
        elif "scale" in name:
            torch.nn.init.constant_(parameter, 1.5)
        elif "logit_bias" in name:
            torch.nn.init.constant_(parameter, -0.5)
    return module.eval()


def transformers_model(kind: str) -> Any:
    """A CLIPModel or SiglipModel of two layers a tower."""
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    vision = {**shape, "image_size": SIZE, "patch_size": PATCH}
    text = {
        **shape, "vocab_size": len(VOCABULARY), "max_position_embeddings": ROOM,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        return loud(transformers.CLIPModel(config))
    config = transformers.SiglipConfig(
        text_config={**text, "projection_size": 32}, vision_config=vision
    )
    return loud(transformers.SiglipModel(config))


def save_transformers(kind: str, folder: Path) -> Any:
    """The model in a folder with its tokenizer and image processor, as the hub has them."""
    import transformers

    module = transformers_model(kind)
    module.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    processors = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}
    sizes: dict[str, Any] = {"clip": {"shortest_edge": SIZE}}
    crop = {"crop_size": {"height": SIZE, "width": SIZE}} if kind == "clip" else {}
    size = sizes.get(kind, {"height": SIZE, "width": SIZE})
    getattr(transformers, processors[kind])(size=size, **crop).save_pretrained(folder)
    return module


def open_clip_model(*, sigmoid: bool) -> Any:
    """An open_clip.CLIP with its own tokenizer's vocabulary."""
    import open_clip

    made = open_clip.model.CLIP(
        24,
        {"layers": 2, "width": 32, "head_width": 16, "patch_size": PATCH, "image_size": SIZE},
        {"context_length": ROOM, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
        init_logit_bias=-0.5 if sigmoid else None,
    )
    module = loud(made)
    open_clip.model.set_model_preprocess_cfg(
        module, {"size": (SIZE, SIZE), "mean": (0.5,) * 3, "std": (0.25,) * 3,
                 "interpolation": "bicubic", "resize_mode": "shortest"},
    )  # fmt: skip
    return module
