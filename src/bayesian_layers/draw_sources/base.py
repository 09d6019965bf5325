"""What a posterior needs of the origin of its draws, and how it is read from a folder."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..errors import StorageError
from ..model import BayesianModel
from ..saving import AGAIN, StoredFolder
from ..saving.storable import NAME, MemberOf, Storable


class DrawSource(Storable, nn.Module):
    """The origin of a posterior's draws: a module whose state is all there is to keep."""

    FAMILY: ClassVar = "bl.guides"

    @abstractmethod
    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw values of all sites.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.
            start: The first: these are the draws ``start`` to ``start + S`` of the seed, to the last bit.

        Returns:
            Site name to draws, ``(S, *shape)``.
        """

    @abstractmethod
    def mean(self) -> dict[str, Tensor]:
        """Return the mean of each site, of the site's shape; for a log-normal site the median."""

    def moments(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """Return mean and standard deviation of the sites whose entries are independent Normals; ``None`` if unknown.

        Returns:
            Site name to two tensors of the site's shape; gradients flow to the parameters.
        """
        return None

    @classmethod
    @abstractmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Return how many numbers the arrays of a source with these arguments of its spec hold."""

    @abstractmethod
    def check_loaded(self, model: BayesianModel) -> None:
        """Raise StorageError if loaded arrays are finite, but draws would not be, or not positive where they must."""

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        """Build the source with arrays of the right shapes; their values do not matter."""
        return cls(model, **arguments)


def from_stored(spec: Any, model: BayesianModel, stored: StoredFolder) -> DrawSource:
    """Build a source that was read from a folder; stand-ins that take no memory hold the place of its arrays."""
    MemberOf(DrawSource).check(spec, "source")
    needed = num_entries(spec, model)
    found = [array for name, array in stored.header.items() if name.startswith("source.")]
    if sum(math.prod(array.shape) for array in found) != needed or not needed:
        raise StorageError(
            f"the stored draws do not belong to the model: they need {needed} numbers; stored are "
            f"{sum(math.prod(array.shape) for array in found)}. {AGAIN}"
        )
    stored.reserve(sum(array.nbytes for array in found), f"the draws of {stored.path}")
    return _without_memory(DrawSource.from_spec(spec, model=model))


def num_entries(spec: Mapping[str, Any], model: BayesianModel) -> int:
    """Return how many numbers the arrays of a described source hold."""
    return DrawSource.stored_kinds[spec[NAME]].num_entries(spec, model)


def _without_memory(source: DrawSource) -> DrawSource:
    """Replace each array by one number that is expanded to its shape: memory comes with the values."""
    for name, value in [*source.named_parameters(), *source.named_buffers()]:
        stand_in = value.detach().new_zeros(()).expand(value.shape)
        path, _, leaf = name.rpartition(".")
        new = nn.Parameter(stand_in) if isinstance(value, nn.Parameter) else stand_in
        setattr(source.get_submodule(path), leaf, new)
    return source


def check_all(value: Tensor, good: Callable[[Tensor], Tensor], sentence: str) -> None:
    """Raise StorageError with this sentence if some entries are not good."""
    # In pieces: the check must not take the memory of the array again.
    if not all(bool(good(piece).all()) for piece in value.detach().flatten().split(2**17)):
        raise StorageError(f"{sentence}; some are not. {AGAIN}")


def check_positive(draws: Mapping[str, Tensor], model: BayesianModel) -> None:
    """Raise StorageError if values of positive sites are not positive and finite."""
    for name, site in model.sites().items():
        if site.positive:
            check_all(
                draws[name],
                lambda it: (it > 0) & torch.isfinite(it),
                f"the draws of {name!a:.60} must be positive and finite",
            )
