"""Where the draws of a posterior come from: a guide, or draws that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .errors import DataError, SiteError, StorageError
from .guides import Ensemble, FullRankNormal, Guide, LowRankNormal, MeanFieldNormal
from .guides.ensemble import check_weights
from .guides.low_rank import check_rank
from .model import BayesianModel


class Source(Protocol):
    """What a posterior asks of its draws' origin; an ``nn.Module`` whose state is all there is to keep."""

    def draw(self, num_draws: int, seed: int) -> dict[str, Tensor]:
        """Draw ``(S, *shape)`` a site; draw ``i`` depends on ``(seed, i)`` alone."""
        ...

    def mean(self) -> dict[str, Tensor]:
        """Give the mean of each site."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Give all arrays that the source consists of."""
        ...


class StoredDraws(nn.Module):
    """Draws that were made elsewhere, as a source.

    Args:
        samples: Site name to draws, ``(M, *shape)``; kept as they are, not copied.
    """

    def __init__(self, samples: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Buffers may not have dots in their names, as sites do.
        self._buffers_of = {name: f"draws_{i}" for i, name in enumerate(samples)}
        for name, value in samples.items():
            self.register_buffer(self._buffers_of[name], value.detach())

    @property
    def samples(self) -> dict[str, Tensor]:
        """Site name to all stored draws, ``(M, *shape)``."""
        return {name: self.get_buffer(buffer) for name, buffer in self._buffers_of.items()}

    def draw(self, num_draws: int, seed: int) -> dict[str, Tensor]:
        """Take stored draws in an order that the seed shuffles; after the last the first comes again.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.

        Returns:
            Site name to draws, ``(S, *shape)``.
        """
        stored = len(next(iter(self.samples.values())))
        order = np.random.default_rng(seed).permutation(stored)
        index = torch.from_numpy(np.resize(order, num_draws))
        return {name: value[index.to(value.device)] for name, value in self.samples.items()}

    def mean(self) -> dict[str, Tensor]:
        """Average the stored draws.

        Returns:
            Site name to a tensor of the site's shape.
        """
        return {name: value.mean(0) for name, value in self.samples.items()}


def describe(source: Source) -> dict[str, Any]:
    """Describe a source in JSON's types, but for its arrays.

    Args:
        source: A guide of the library, or stored draws.

    Returns:
        Its kind, and what fixes the shapes of its arrays.

    Raises:
        StorageError: If it is neither.
    """
    if isinstance(source, StoredDraws):
        return {"kind": "StoredDraws", "draws": len(next(iter(source.samples.values())))}
    if type(source) is LowRankNormal:
        return {"kind": "LowRankNormal", "rank": source.rank}
    if type(source) is Ensemble:
        return {"kind": "Ensemble", "members": source.members, "weights": source.weights}
    if type(source) in (MeanFieldNormal, FullRankNormal):
        return {"kind": type(source).__name__}
    raise StorageError(
        f"draws from a {type(source).__name__} cannot be saved; take them with from_samples first"
    )


def build(document: Any, model: BayesianModel) -> Guide | StoredDraws:
    """Build the source that :func:`describe` described, its arrays not yet filled.

    An array whose shape the document decides takes memory only when it is filled: by then the shape is known to
    be that of the stored array.

    Args:
        document: What was read from a file; nothing in it is trusted.
        model: The model.

    Returns:
        A guide, or stored draws.

    Raises:
        StorageError: If the description is not one of a known source, or not one for this model.
    """
    try:
        match document:
            case {"kind": "MeanFieldNormal", **rest} if not rest:
                return MeanFieldNormal(model)
            case {"kind": "FullRankNormal", **rest} if not rest:
                return FullRankNormal(model)
            case {"kind": "LowRankNormal", "rank": int(rank), **rest} if not rest:
                return _low_rank(model, rank)
            case {"kind": "Ensemble", "members": int(members), "weights": str(weights), **rest} if not rest:
                return _ensemble(model, members, weights)
            case {"kind": "StoredDraws", "draws": int(draws), **rest} if not rest:
                return _stored_draws(model, draws)
    except (DataError, SiteError) as error:
        raise StorageError(f"the draws do not belong to the model: {error}") from error
    raise StorageError(f"the draws must come from a known guide or be stored; received {str(document)[:80]}")


def _low_rank(model: BayesianModel, rank: int) -> LowRankNormal:
    guide = LowRankNormal(model, rank=1)
    check_rank(rank, len(guide.loc))
    guide.factor = nn.Parameter(guide.factor.detach().expand(-1, rank))
    guide.register_load_state_dict_pre_hook(_take_memory)
    return guide


def _ensemble(model: BayesianModel, members: int, weights: str) -> Ensemble:
    check_weights(weights)
    if isinstance(members, bool) or not 1 <= members < 2**20:
        raise DataError(f"an Ensemble has 1 member or more; received {members}")
    guide = Ensemble(model, members=1)
    guide.weights = weights
    for name, value in list(guide.named_parameters()):
        setattr(guide, name, nn.Parameter(value.detach().expand(members, -1)))
    guide.log_weight = guide.log_weight.expand(members)
    guide.register_load_state_dict_pre_hook(_take_memory)
    return guide


def _stored_draws(model: BayesianModel, draws: int) -> StoredDraws:
    if isinstance(draws, bool) or not 2 <= draws < 2**40:
        raise DataError(f"there must be 2 stored draws or more; received {draws}")
    sites = model.sites()
    stored = StoredDraws(
        {name: site.initial.expand(draws, *site.initial.shape) for name, site in sites.items()}
    )
    stored.register_load_state_dict_pre_hook(_take_memory)
    return stored


def _take_memory(source: nn.Module, *_: Any) -> None:
    """Give expanded arrays memory of their own, as copying into them needs."""
    for name, value in [*source.named_parameters(), *source.named_buffers()]:
        if not value.is_contiguous():
            own = value.detach().contiguous()
            setattr(source, name, nn.Parameter(own) if isinstance(value, nn.Parameter) else own)
