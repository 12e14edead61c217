"""Asking a traced model again, for its logits and outputs on changed pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from vit_explorer.methods.heatmap import Progress
from vit_explorer.models.devices import enough_memory
from vit_explorer.models.gradient_hooks import differentiating
from vit_explorer.models.interception import frozen, running
from vit_explorer.models.needs import NEEDS
from vit_explorer.models.outputs import Answer, answer, measured
from vit_explorer.models.structure.attention_calls import Watch
from vit_explorer.models.targets import Aim
from vit_explorer.tracing.trace import Trace

# Pictures of 224 pixels and patches of 16 make 200 tokens. A CPU is no faster with larger batches,
# and a user who stops waits for one.
TOKENS_AT_ONCE = 16 * 200
TOKENS_AT_ONCE_ELSEWHERE = 128 * 200


def pictures_at_once(device: torch.device, tokens: int) -> int:
    """How many pictures of so many tokens to give a model in one pass."""
    most = TOKENS_AT_ONCE if device.type == "cpu" else TOKENS_AT_ONCE_ELSEWHERE
    return max(1, most // tokens)


class Asked(nn.Module):
    """The model as a function from pictures (B, C, H, W) to logits (B, C), float32.

    `pixels` (1, C, H, W) is the traced picture, `aim` what is explained, `batch` how many pictures
    to give at once. The pictures answered are counted and told to `progress`.
    """

    def __init__(self, trace: Trace, aim: Aim, total: int, progress: Progress | None) -> None:
        super().__init__()
        self.model = trace.model
        self.module = trace.model.module
        self.watch: Watch | None = None
        if trace.model.anatomy.cut:
            self.watch = Watch()
            self.watch.keep_gradients()
        # A tensor made in inference mode can't be differentiated; a copy made here can.
        self.pixels = trace.prepared.pixels.to(trace.model.device, torch.float32, copy=True)
        self.aim = aim
        self.batch = pictures_at_once(self.pixels.device, trace.card.work)
        self.total = total
        self.answered = 0
        self.progress = progress

    def forward(self, pixels: Tensor) -> Tensor:
        return self._answer(pixels).logits.float()

    def aimed(self, pixels: Tensor) -> Tensor:
        """The aim's logit, (B,)."""
        return self.aim.of(self(pixels))

    def share(self, pixels: Tensor) -> Tensor:
        """The aim's probability (B,), 0 to 1; of values the aim's value."""
        outputs = self.model.card.outputs
        found = measured(self._answer(pixels).raw, outputs)
        return self.aim.measured(found, probabilities=outputs != "value")

    def _answer(self, pixels: Tensor) -> Answer:
        with self.watch if self.watch is not None else nullcontext():
            found = answer(self.model, pixels.to(next(self.module.parameters())))
        self.count(len(pixels))
        return found

    def count(self, pictures: int) -> None:
        """Tell `progress` of pictures answered; what it raises passes through."""
        self.answered = min(self.answered + pictures, self.total)
        if self.progress is not None:
            self.progress(self.answered, self.total)


@contextmanager
def asking(trace: Trace, total: int, progress: Progress | None) -> Iterator[Asked]:
    """The traced model, alone in use, in evaluation mode and frozen, for `total` pictures.

    Raises:
        TargetError: the model has no classes.
        ModelError: the GPU's memory ran out.
    """
    model = trace.model
    if trace.target is None or trace.aim is None:
        raise NEEDS["class"].refusal(model.card)
    with ExitStack() as borrowed:
        borrowed.enter_context(model.lock)
        borrowed.enter_context(torch.inference_mode(False))
        borrowed.enter_context(frozen(model.module))
        borrowed.enter_context(running(model.module, model.anatomy))
        borrowed.enter_context(enough_memory(model.card.name))
        borrowed.enter_context(differentiating(model.card.name))
        yield Asked(trace, trace.aim, total, progress)
