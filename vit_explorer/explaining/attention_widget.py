"""An explanation as a widget in a notebook: the page's attention canvas, with maps beside it.

It needs anywidget, so `Explanation.widget` alone imports it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from vit_explorer.drawing.coloring import COLORMAPS
from vit_explorer.errors import ExplorerError
from vit_explorer.explaining.figure import (
    figure_facts,
    has_attention,
    look_and_words,
    script,
    styles,
)
from vit_explorer.options import checked_index, index_from_text
from vit_explorer.sentences import Sentence, either
from vit_explorer.tracing.trace import Trace

if TYPE_CHECKING:
    from vit_explorer.explaining.explanation import Explanation

ENTRY = "alone/widget.js"
FUSIONS = ("mean", "max")
# A layer up to so many bytes is sent whole, of a larger one a query's rows alone.
MOST_OF_LAYER = 32 * 2**20
STATIC_DPI = 90


class AttentionWidget(anywidget.AnyWidget):
    """What is chosen, shared with the notebook's front end: read it, or set it from Python.

    `layer` counts from 0, `head` is a number from 0, "mean" or "max", `token` the query's index.
    A choice that is not there raises OptionError.
    """

    _esm = f"{script(ENTRY)}export default {{ render: entry.render }};\n"
    _css = styles("figure")
    _told = t.Dict().tag(sync=True)
    layer = t.Int().tag(sync=True)
    head = t.Any("mean").tag(sync=True)
    token = t.Int().tag(sync=True)
    opacity = t.Float(0.6, min=0, max=1).tag(sync=True)
    colormap = t.Enum(COLORMAPS, COLORMAPS[0]).tag(sync=True)
    smooth = t.Bool(True).tag(sync=True)

    def __init__(self, result: Explanation) -> None:
        self._result = result
        card = result.card
        rows, columns = card.grid
        super().__init__(
            _told={
                **figure_facts(result),
                **look_and_words(ENTRY),
                "attention": _attention_facts(result),
            },
            layer=max(card.depth - 1, 0),
            token=0 if card.prefix_tokens else rows // 2 * columns + columns // 2,
        )
        self.on_msg(self._answer)

    @t.validate("layer")
    def _checked_layer(self, proposal: Any) -> int:
        depth = max(self._result.card.depth, 1)
        return checked_index(Sentence("part.layer", "layer"), proposal["value"], depth)

    @t.validate("head")
    def _checked_head(self, proposal: Any) -> int | str:
        head = proposal["value"]
        if head in FUSIONS:
            return str(head)
        return checked_index(
            Sentence("part.head", "head"),
            head,
            self._result.card.heads,
            instead=Sentence("part.or", ", or {names}", names=either(FUSIONS)),
        )

    @t.validate("token")
    def _checked_token(self, proposal: Any) -> int:
        tokens = self._result.card.tokens
        return checked_index(Sentence("part.token", "token"), proposal["value"], tokens)

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        try:
            held = attention_bytes(self._result.trace, str(content.get("ask")))
        except ExplorerError as error:
            self.send({"to": content.get("to"), "said": str(error)})
        else:
            self.send({"to": content.get("to")}, [held])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and for whoever can't draw one the explanation's figure."""
        told = super()._repr_mimebundle_(**kwargs)
        if told is None:
            return None
        bundle, facts = told
        picture = io.BytesIO()
        self._result.figure().savefig(picture, format="png", dpi=STATIC_DPI)
        return {**bundle, "image/png": picture.getvalue()}, facts


def _attention_facts(result: Explanation) -> dict[str, Any] | None:
    """What there is of attention, None where there is none to look into."""
    if not has_attention(result):
        return None
    card = result.card
    return {
        "depth": card.depth,
        "heads": card.heads,
        "tokens": card.tokens,
        "apart": True,
        "whole": 4 * card.heads * card.tokens**2 <= MOST_OF_LAYER,
    }


def attention_bytes(trace: Trace, path: str) -> bytes:
    """Attention as float32, by the page's own paths: `layers/L` is (h, N, N), and `queries/Q/from`
    what one token looks at in every layer, (L, h, N).

    Raises:
        OptionError: no such layer or token.
    """
    kind, _, place = path.partition("/")
    number = place.partition("/")[0]
    card = trace.card
    if kind == "layers":
        layer = index_from_text(Sentence("part.layer", "layer"), number, card.depth)
        return trace.attention(layer).float().cpu().numpy().tobytes()
    query = index_from_text(Sentence("part.token", "token"), number, card.tokens)
    rows = [trace.attention_rows(layer, [query]) for layer in range(card.depth)]
    return b"".join(one.float().cpu().numpy().tobytes() for one in rows)
