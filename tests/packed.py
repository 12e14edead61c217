"""What `vit_explorer.page.payloads.packing.pack` wrote, read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    length = int(np.frombuffer(data, "<u4", count=1)[0])
    facts = json.loads(data[4 : 4 + length])
    at = 4 + length
    arrays = {}
    for name, kind, shape in facts.pop("arrays"):
        assert at % 4 == 0
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, kind, count=count, offset=at).reshape(shape)
        at += -(-arrays[name].nbytes // 4) * 4
    assert at == len(data)
    return facts, arrays
