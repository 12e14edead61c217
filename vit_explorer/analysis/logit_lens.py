"""The logit lens: what the model would say if it ended after each layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.models.capture import Functions
from vit_explorer.models.needs import require
from vit_explorer.models.outputs import measured
from vit_explorer.models.predictions import Prediction, best, first_aims, predicted
from vit_explorer.models.readout import embedded, read_end
from vit_explorer.models.targets import Aim
from vit_explorer.options import one_of
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.trace import Trace

Norm = Literal["final", "last_statistics"]


@dataclass(frozen=True, eq=False)
class LogitLens:
    """Predictions at each depth: 0 is before the first block, L after the last.

    `predictions` are the most probable classes at each of the L + 1 depths; `curve` (L + 1,) is
    the `target`'s probability there, 0 to 1, or where the model returns values its value; `logits`
    (L + 1, C) are what the model would return.
    """

    predictions: tuple[tuple[Prediction, ...], ...]
    target: Prediction
    curve: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32] = field(repr=False)
    norm: Norm
    aim: Aim = field(repr=False)

    @property
    def settled(self) -> int:
        """The first depth from which on the target leads; L + 1 where it never does."""
        leads = [depth[0].index == self.target.index for depth in self.predictions]
        return len(leads) - next((n for n, led in enumerate(leads[::-1]) if not led), len(leads))


@torch.no_grad()
def logit_lens(trace: Trace, *, top: int = 5, norm: Norm = "final") -> LogitLens:
    """Read each block's output by the model's own final norm, pooling and head.

    The last depth gives the model's own logits. Earlier ones say how far the model has got only
    as far as its blocks share one basis, which nothing in training asks of them.

    Args:
        top: how many classes to return at each depth.
        norm: "final": the norm takes its mean and variance from the tokens at each depth;
            "last_statistics": from those of the last depth everywhere.

    Raises:
        TargetError: the model has no classifier.
        OptionError: a number or norm that is not known.
        UnsupportedModelError: the head reads more than the last block's output, or for
            "last_statistics" no layer norm follows the blocks.

    nostalgebraist, "interpreting GPT: the logit lens", 2020; Vilas et al., "Analyzing Vision
    Transformers for Image Classification in Class Embedding Space", NeurIPS 2023.
    """
    one_of(Sentence("part.norm", "norm"), norm, get_args(Norm))
    model = trace.model
    require(model.card, "tokens", "end")
    tokens = torch.stack((embedded(model, trace.prepared.pixels)[0], *trace.blocks))
    logits = read_end(model, tokens).raw
    check_end(trace, logits[-1])
    if norm == "last_statistics":
        fixed = _LastStatistics(len(tokens))
        with fixed:
            logits = read_end(model, tokens).raw
        if not fixed.found:
            raise UnsupportedModelError(
                "error.lens.norm",
                "No layer norm follows the blocks of {model}, so the last layer's statistics "
                "can't be used at others; use norm='final'.",
                model=model.card.name,
            )
    logits = logits.float().cpu()
    outputs = model.card.outputs
    (aim,) = first_aims(logits[-1:], outputs) if trace.aim is None else (trace.aim,)
    return LogitLens(
        predictions=tuple(best(row, model.labels, top, outputs) for row in logits),
        target=predicted(logits[-1], model.labels, aim, outputs),
        curve=aim.measured(measured(logits, outputs), probabilities=outputs != "value").numpy(),
        logits=logits.numpy(),
        norm=norm,
        aim=aim,
    )


def check_end(trace: Trace, last: Tensor) -> None:
    """The end of the model run alone must give what the whole model gave, else it is refused."""
    error = float((last.float() - trace.raw.float()).abs().max())
    exact = last.dtype in (torch.float32, torch.float64)
    if error > (1e-3 if exact else 5e-2) * max(1.0, float(trace.raw.abs().max())):
        raise UnsupportedModelError(
            "error.lens.head",
            "{model} can't be read at each depth: its head reads more than the last block's "
            "output; choose a plain ViT.",
            model=trace.card.name,
        )


class _LastStatistics(Functions):
    """The first layer norm over a batch of depths takes mean and variance from the last depth."""

    def __init__(self, depths: int) -> None:
        super().__init__()
        self.depths = depths
        self.found = False

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The blocks that run beside see one picture, so the batch tells the final norm.
        if func is F.layer_norm and not self.found and len(args[0]) == self.depths:
            self.found = True
            return _norm_by_last(*args, **kwargs)
        return func(*args, **kwargs)


def _norm_by_last(
    tokens: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    last = tokens[-1:].float()
    variance, mean = torch.var_mean(last, dim=-1, correction=0, keepdim=True)
    normed = ((tokens.float() - mean) / (variance + eps).sqrt()).to(tokens.dtype)
    if weight is not None:
        normed = normed * weight
    return normed if bias is None else normed + bias
