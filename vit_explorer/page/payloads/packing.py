"""Facts and named arrays in one answer, in the layout of safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

MEDIA_TYPE = "application/octet-stream"


def pack(facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A safetensors file of the arrays, with the facts as JSON in its metadata.

    The page reads float32, int32 for places, and uint8 for pictures; floats of other widths are
    made float32.
    """
    parts = {
        name: np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else None)
        for name, values in arrays.items()
    }
    # One entry: several would be written in a different order each time.
    return save(parts, metadata={"facts": json.dumps(dict(facts), allow_nan=False)})
