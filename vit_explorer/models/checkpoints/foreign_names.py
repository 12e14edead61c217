"""State dicts of torchvision, transformers and CLIP, under timm's names of the same model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# What a program calls a thing → what timm calls it, tried in order, each at most once a name.
Renames = tuple[tuple[str, str], ...]

_TORCHVISION: Renames = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)
_TRANSFORMERS: Renames = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
_CLIP: Renames = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_CLIP_OF_TRANSFORMERS: Renames = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
)


@dataclass(frozen=True)
class Program:
    """How one program names a ViT's tensors: `anchor` is a name that no other program's has.

    `eps` is that of its layer norms, None where timm's model of that name has it too; `aside` names
    what it keeps beside the ViT, and `activation` is "" or what its MLP has by default.
    """

    name: str
    anchor: str
    renames: Renames
    eps: float | None = None
    aside: str = r"(?!)"
    activation: str = ""


PROGRAMS = (
    Program("torchvision", "encoder.layers.encoder_layer_0.ln_1.weight", _TORCHVISION, 1e-6),
    Program(
        "transformers",
        "embeddings.patch_embeddings.projection.weight",
        _TRANSFORMERS,
        aside=r"pooler\.|mask_token$",
    ),
    Program(
        "OpenAI's CLIP",
        "transformer.resblocks.0.ln_1.weight",
        _CLIP,
        1e-5,
        aside=r"proj$",
        activation="quick GELU",
    ),
    Program(
        "transformers' CLIP",
        "embeddings.class_embedding",
        _CLIP_OF_TRANSFORMERS,
        1e-5,
        aside=r"embeddings\.position_ids$",
        activation="quick GELU",
    ),
)
QKV = re.compile(r"(.+\.attn\.)(q|k|v|query|key|value)\.(weight|bias)")


def recognise(names: Iterable[str]) -> tuple[Program, list[str]] | None:
    """The program that wrote names like these, and the prefixes under which its ViTs stand."""
    names = set(names)
    for program in PROGRAMS:
        found = sorted(
            name.removesuffix(program.anchor)
            for name in names
            if name == program.anchor or name.endswith(f".{program.anchor}")
        )
        # CLIP's text tower has the same blocks; only its picture tower has patches.
        if program.renames is _CLIP:
            found = [prefix for prefix in found if f"{prefix}conv1.weight" in names]
        if found:
            return program, found
    return None


def norm_eps(program: Program, names: Iterable[str]) -> float | None:
    """Epsilon of the layer norms: transformers' older ViTs have another than its DINOv2."""
    if program.eps is None and any(".layernorm_before." in name for name in names):
        return 1e-12
    return 1e-6 if program.eps is None else program.eps


def to_timm(state: Mapping[str, Tensor], program: Program) -> dict[str, Tensor]:
    """Tensors under timm's names and in its shapes; what has no name there keeps its own."""
    renamed = {}
    for theirs, tensor in state.items():
        name = theirs
        for pattern, put in program.renames:
            name = re.sub(pattern, put, name, count=1)
        renamed[name] = tensor
    parts: dict[str, dict[str, Tensor]] = {}
    made = {}
    for name, tensor in renamed.items():
        found = QKV.fullmatch(name)
        if found:
            parts.setdefault(f"{found[1]}qkv.{found[3]}", {})[found[2][0]] = tensor
        else:
            made[name] = tensor
    for name, three in parts.items():
        if {"q", "k", "v"} <= set(three):
            made[name] = torch.cat([three[which] for which in "qkv"])
    if "cls_token" in made:
        made["cls_token"] = made["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in made:
        made["pos_embed"] = made["pos_embed"].reshape(1, -1, made["pos_embed"].shape[-1])
    return made


def fold_class_position(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The class token's own position within the token, as timm's ViTs with registers keep it."""
    if not {"cls_token", "pos_embed"} <= set(state):
        return state
    cls, positions = state["cls_token"], state["pos_embed"]
    return {**state, "cls_token": cls + positions[:, :1], "pos_embed": positions[:, 1:]}
