"""Checks of arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def numeric(arrays: Arrays | None) -> dict[str, np.ndarray]:
    """Convert to arrays; raise ValueError unless they are numeric."""
    result = {name: np.asarray(value) for name, value in (arrays or {}).items()}
    for name, value in result.items():
        if value.dtype.kind not in "fiub":
            raise ValueError(f"`{name}` must be an array of numbers; received dtype {value.dtype}.")
    return result


def check_posterior(posterior: Arrays) -> dict[str, np.ndarray]:
    """Convert to arrays; raise ValueError if there are none or they are not numeric."""
    if not posterior:
        raise ValueError("`posterior` must hold the draws of at least one site; received an empty mapping.")
    return numeric(posterior)


def check_draws(drawn: Arrays) -> None:
    """Raise ValueError unless all arrays have the same number of draws on their first axis, at least 2."""
    first, num_draws = None, 0
    for label, value in drawn.items():
        if value.ndim == 0:
            raise ValueError(f"{label} must have a first axis of draws; received a single number.")
        if first is None:
            first, num_draws = label, len(value)
        if len(value) != num_draws:
            raise ValueError(
                f"All arrays must hold the same number of draws: {first} holds {num_draws}, "
                f"but {label} has shape {value.shape}."
            )
    if first is not None and num_draws < 2:
        raise ValueError(f"A standard deviation needs at least 2 draws; {first} holds {num_draws}.")
