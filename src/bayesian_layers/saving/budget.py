"""How much memory a folder may make its reader take."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DataError, StorageError


@dataclass
class Budget:
    """Counts what reading a folder takes, before it is taken.

    Files are judged by their sizes, JSON by the most that its text can grow to, arrays by their header.

    Attributes:
        most: The limit in bytes; ``None`` for no other limits than those on JSON.
        taken: What was granted, in bytes.

    Raises:
        DataError: If the limit is no whole number above 0.

    Example:
        >>> budget = Budget(100)
        >>> budget.take(60, "model.json")
        >>> budget.take(60, "arrays.safetensors")
        Traceback (most recent call last):
        ...
        bayesian_layers.errors.StorageError: arrays.safetensors must fit into the 100 bytes that reading may \
take; received 60, after 60 before it. If you trust the folder, pass a larger `max_bytes`.
    """

    most: int | None = None
    taken: int = 0

    def __post_init__(self) -> None:
        if self.most is not None and (type(self.most) is not int or self.most < 1):
            raise DataError(f"`max_bytes` must be a whole number above 0, or None; received {self.most!r}")

    def take(self, nbytes: int, what: str) -> None:
        """Ask for memory."""
        if self.most is not None and self.taken + nbytes > self.most:
            raise StorageError(
                f"{what} must fit into the {self.most} bytes that reading may take; received {nbytes}, "
                f"after {self.taken} before it. If you trust the folder, pass a larger `max_bytes`."
            )
        self.taken += nbytes
