"""One layer's attention: what went in and came out, and the probabilities made of it when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from vit_explorer.errors import OptionError
from vit_explorer.interception import probabilities

Rows = slice | Sequence[int] | Tensor

# Attention is made for so many queries at a time that a chunk stays in cache.
CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Layer:
    """What one block's attention read and wrote, float32; h heads of width d over N tokens.

    `output_gradient` is ∂logit/∂output, None where the pass kept no gradients.
    """

    query: Tensor  # (h, N, d)
    key: Tensor  # (h, N, d)
    value: Tensor  # (h, N, d)
    output: Tensor  # (h, N, d)
    scale: float
    bias: Tensor | None = None  # (1 or h, N or 1, N), boolean or added to the scores
    output_gradient: Tensor | None = None  # (h, N, d)

    def attention(self, rows: Rows) -> Tensor:
        """Probabilities (h, len(rows), N) of some queries; rows sum to 1."""
        bias = self.bias
        if bias is not None and bias.shape[-2] > 1:
            bias = bias[:, rows]
        return probabilities(self.query[:, rows], self.key, self.scale, bias)

    def attention_gradient(self, rows: Rows) -> Tensor:
        """∂logit/∂attention (h, len(rows), N), from the output's gradient: dO vᵀ."""
        if self.output_gradient is None:
            raise OptionError(
                "This trace kept no gradients of this layer; trace with gradients='all'."
            )
        return self.output_gradient[:, rows] @ self.value.transpose(-2, -1)

    def chunks(self, weights: Tensor | None = None) -> Iterator[slice | Tensor]:
        """The queries, so few at a time that their attention is cheap to hold.

        With `weights` (N,), only the queries whose weight is not 0.
        """
        heads, tokens, _ = self.query.shape
        step = max(1, CHUNK_BYTES // (heads * tokens * self.query.element_size()))
        rows = None if weights is None else weights.nonzero().flatten()
        if rows is not None and len(rows) < tokens:
            yield from rows.split(step)
            return
        for start in range(0, tokens, step):
            yield slice(start, min(start + step, tokens))
