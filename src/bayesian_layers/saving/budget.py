"""How much memory a folder may make its reader take."""

from __future__ import annotations

from dataclasses import dataclass

from ..arguments import check_integer
from ..errors import StorageError


@dataclass
class Budget:
    """Counts the bytes that reading a folder takes, before they are taken."""

    # Files count with their sizes, JSON with the most that its text can grow to, arrays with their header.

    most: int | None = None  # None for no other limits than those on JSON
    taken: int = 0

    def __post_init__(self) -> None:
        if self.most is not None:
            check_integer("max_bytes", self.most, least=1)

    def take(self, nbytes: int, what: str) -> None:
        """Count memory; raise StorageError if it is more than what is left."""
        if self.most is not None and self.taken + nbytes > self.most:
            raise StorageError(
                f"{what} must fit into the {self.most} bytes that reading may take; received {nbytes}, "
                f"after {self.taken} before it. If you trust the folder, pass a larger `max_bytes`."
            )
        self.taken += nbytes
