"""The hash by which a report or a record names its data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def hash_of(*arrays: Any) -> str:
    """Compute the SHA-256 of arrays: of dtype, shape and little-endian content of each."""
    digest = hashlib.sha256()
    for each in arrays:
        array = np.ascontiguousarray(each)
        array = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
