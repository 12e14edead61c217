"""Named arrays in one answer: a line of JSON that says what follows, then their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# JavaScript reads an array of float32 only at a multiple of its size.
ALIGNED = 4


def pack(facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Bytes of a JSON head's length (uint32), the head, and float32, int8 or uint8 arrays.

    The head is `facts` with `arrays`: a list of [name, dtype, shape] in their order. All begin at
    a multiple of four bytes, little-endian.
    """
    kinds = {"f": "<f4", "i": "i1", "u": "u1"}
    parts = {
        name: np.ascontiguousarray(values, kinds[values.dtype.kind])
        for name, values in arrays.items()
    }
    listed = [[name, part.dtype.str[1:], list(part.shape)] for name, part in parts.items()]
    head = json.dumps({**facts, "arrays": listed}).encode()
    head += b" " * (-len(head) % ALIGNED)
    body = b"".join(part.tobytes() + b"\0" * (-part.nbytes % ALIGNED) for part in parts.values())
    return np.uint32(len(head)).astype("<u4").tobytes() + head + body
