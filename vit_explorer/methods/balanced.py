"""Input times gradient in a balanced backward pass, which conserves the logit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vit_explorer.errors import UnsupportedModelError
from vit_explorer.methods.attention import generic_attention
from vit_explorer.methods.heatmap import Noted, Progress
from vit_explorer.methods.model_queries import asking
from vit_explorer.methods.registry import method
from vit_explorer.models.accepted_calls import accept
from vit_explorer.models.balanced import Balance, balancing
from vit_explorer.sentences import Sentence
from vit_explorer.tracing.attention_layer import arranged_layers
from vit_explorer.tracing.trace import Trace

# The largest `Balance.gap` that rounding explains, by what the model computes in.
_ROUNDING = {"float16": 2e-2, "bfloat16": 5e-2}


@method(
    title="LibraGrad",
    summary="What a patch's tokens add to the logit, through all layers, in a balanced backward "
    "pass.",
    formula="Σ over the inputs x of all blocks of x·∂y/∂x, where norms' scales, attention weights "
    "and the gates of activations count as constants",
    source="Mehri et al. 2025; Ali et al. 2022",
    caveat="What attention looked for (queries and keys) is taken as given. With these constants "
    "it gives what LRP's zero rule gives with its rules for norms, attention and gates; LRP's "
    "authors hold a patent.",
    requires=("tokens",),
    passes="few",
    unit="logit",
    signed=True,
)
def libra_input_x_gradient(trace: Trace, *, progress: Progress | None = None) -> Noted:
    """Input × gradient in a balanced backward pass, summed over the inputs of all blocks:
    (gh, gw), signed, in units of the logit.

    Norms' scales, attention weights and the gates of activations (GELU, SiLU, SwiGLU, …) count as
    constants, so that at every depth what tokens and biases contribute adds up to the logit. That
    is checked for each map; the note tells the sums at the first block.

    Raises:
        TargetError: a model without classes.
        UnsupportedModelError: contributions don't add up, as the model has a step that is not
            balanced; or a model of tier 2.

    Mehri et al., "LibraGrad: Balancing Gradient Flow for Universally Better Vision Transformer
    Attributions", CVPR 2025; Ali et al., "XAI for Transformers: Better Explanations through
    Conservative Propagation", ICML 2022.
    """
    balance = balanced(trace, progress)
    return Noted(
        trace.grid(balance.tokens.sum(dim=0)),
        Sentence(
            "note.balance",
            "At the first block the tokens hold {tokens:+.3f} of {logit:.3f} and all biases after "
            "it {biases:+.3f}; the map is the sum over {count} blocks.",
            tokens=float(balance.tokens[0].sum()),
            logit=balance.logit,
            biases=float(balance.biases[0]),
            count=len(balance.tokens),
        ),
    )


@method(
    title="Balanced generic attention",
    summary="Generic attention, its gradients taken in the balanced backward pass.",
    formula="generic attention with the balanced ∂y/∂A of `libra_input_x_gradient`",
    source="Chefer, Gur & Wolf 2021 (ICCV); Mehri et al. 2025",
    caveat="Drops what speaks against the class. The balanced pass coincides with LRP's rules, "
    "whose authors hold a patent.",
    requires=("attention",),
    passes="few",
    follows_row=True,
)
def libra_generic_attention(
    trace: Trace, *, start: int = 0, progress: Progress | None = None
) -> Tensor:
    """R ← R + mean_h relu(A∘∂logit/∂A)·R, class row, with ∂logit/∂A of the balanced backward pass:
    (gh, gw), 0 or more.

    Raises:
        OptionError: no such `start`, the first layer of the product.
        TargetError, UnsupportedModelError: as `libra_input_x_gradient`.

    Chefer, Gur & Wolf, "Generic Attention-model Explainability", ICCV 2021, with the gradients of
    Mehri et al., "LibraGrad", CVPR 2025.
    """
    trace.layer_index(start)  # the check, before the pass
    balance = balanced(trace, progress)
    anatomy, slopes = trace.model.anatomy, iter(balance.slopes)
    calls = accept(balance.calls, anatomy, trace.card.name)
    layers = [arranged_layers(anatomy, own, [next(slopes) for _ in own], 1)[0] for own in calls]
    return generic_attention(replace(trace, layers=tuple(layers)), start=start)


def balanced(trace: Trace, progress: Progress | None = None) -> Balance:
    """What tokens and biases contribute to the target's logit at each depth, by one forward and
    one backward pass. Raises as `libra_input_x_gradient`."""
    model = trace.model
    with asking(trace, 1, progress) as asked, torch.enable_grad():
        pixels = asked.pixels.requires_grad_(True)
        with balancing(model.module, model.anatomy) as watch:
            logit: Tensor = asked.aimed(pixels).sum()
        balance = watch.balance(logit)
    if not balance.gap <= _ROUNDING.get(trace.card.precision, 1e-4):
        raise UnsupportedModelError(
            "error.balance",
            "The gradients of {model} can't be balanced: what tokens and biases contribute misses "
            "the logit by {gap:.1%} of all contributions, so it has a step that is neither linear "
            "nor a norm, an attention or a gate known here, or something passes beside the tokens "
            "of its blocks; choose input_x_gradient.",
            model=trace.card.name,
            gap=balance.gap,
        )
    return balance
