"""What `vit_explorer.page.payloads.packing.pack` wrote, read back by the layout's description."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = {"F32": "<f4", "I32": "<i4", "U8": "u1"}


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    facts = json.loads(header.pop("__metadata__")["facts"])
    arrays = {}
    for name, part in header.items():
        (start, end), kind = part["data_offsets"], np.dtype(KINDS[part["dtype"]])
        # JavaScript reads an array only at a multiple of its numbers' size.
        assert (8 + size + start) % kind.itemsize == 0
        found = np.frombuffer(data[8 + size + start : 8 + size + end], kind)
        arrays[name] = found.reshape(part["shape"])
    ends = [part["data_offsets"][1] for part in header.values()]
    assert 8 + size + max(ends, default=0) == len(data)
    return facts, arrays
