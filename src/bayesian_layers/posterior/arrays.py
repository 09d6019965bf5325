"""From tensors to NumPy arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def as_array(value: Tensor) -> np.ndarray:
    """Return the values as a NumPy array; half precisions as float32: NumPy has no bfloat16, and float16 overflows."""
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
