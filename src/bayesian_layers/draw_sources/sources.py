"""Where the draws of a posterior come from: a guide, or draws that were made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DataError, SiteError, StorageError
from ..guides import BlockNormal, Ensemble, Flow, FullRankNormal, Guide, LowRankNormal, MeanFieldNormal
from ..guides.layout import Layout
from ..guides.low_rank import check_rank
from ..layers import RealNVP
from ..model import BayesianModel
from ..saving import AGAIN, ArraySpec
from ..saving.document_schema import SOURCE
from ..saving.schema import show
from .pruned import Pruned, prunable

_ROUNDING = 0.01  # half precision rounds each of many weights
_DRAWS = 64
_DEVIATIONS = 4  # draws of a positive site may be as far from its median as this, on the logarithm


class Source(Protocol):
    """What a posterior asks of its draws' origin; an ``nn.Module`` whose state is all there is to keep."""

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw ``(S, *shape)`` a site, from draw ``start`` on; draw ``i`` depends on ``(seed, i)`` alone."""
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

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Take stored draws in an order that the seed shuffles; after the last the first comes again."""
        stored = len(next(iter(self.samples.values())))
        order = np.random.default_rng(seed).permutation(stored)
        index = torch.from_numpy(order[np.arange(start, start + num_draws) % stored])
        return {name: value[index.to(value.device)] for name, value in self.samples.items()}

    def mean(self) -> dict[str, Tensor]:
        """Average the stored draws."""
        return {name: value.mean(0) for name, value in self.samples.items()}


def describe(source: Source) -> dict[str, Any]:
    """Describe a source in JSON's types, but for its arrays."""
    if isinstance(source, Pruned):
        return {"kind": "Pruned", "source": describe(source.source)}
    if isinstance(source, StoredDraws):
        return {"kind": "StoredDraws", "draws": len(next(iter(source.samples.values())))}
    if type(source) is LowRankNormal:
        return {"kind": "LowRankNormal", "rank": source.rank}
    if type(source) is Flow:
        return {"kind": "Flow", "layers": source.flow.layers, "hidden": list(source.flow.hidden)}
    if type(source) is Ensemble:
        return {"kind": "Ensemble", "members": source.members, "weights": source.weights}
    if type(source) in (MeanFieldNormal, FullRankNormal, BlockNormal):
        return {"kind": type(source).__name__}
    raise StorageError(
        f"draws from a {type(source).__name__} cannot be saved; take them with from_samples first"
    )


def build(document: Any, model: BayesianModel) -> Guide | StoredDraws | Pruned:
    """Build the source that :func:`describe` described, its arrays not yet filled."""
    # Its arrays are stand-ins that take no memory: loaded ones take their place.
    SOURCE.check(document, "source")
    try:
        return _without_memory(_build(document, model))
    except (DataError, SiteError) as error:
        raise StorageError(f"the draws do not belong to the model: {error}") from error


def _build(document: Mapping[str, Any], model: BayesianModel) -> Guide | StoredDraws | Pruned:
    match document["kind"]:
        case "Pruned":
            sites = model.sites()
            kept = {name: sites[name].initial.new_ones((), dtype=torch.bool) for name in prunable(model)}
            kept = {name: value.expand(sites[name].initial.shape) for name, value in kept.items()}
            return Pruned(_build(document["source"], model), kept)
        case "FullRankNormal":
            return FullRankNormal(model)
        case "BlockNormal":
            return BlockNormal(model)
        case "LowRankNormal":
            return _low_rank(model, document["rank"])
        case "Flow":
            return Flow(model, layers=document["layers"], hidden=document["hidden"])
        case "Ensemble":
            return _ensemble(model, document["members"], document["weights"])
        case "StoredDraws":
            return _stored_draws(model, document["draws"])
    return MeanFieldNormal(model)


def check_size(document: Any, model: BayesianModel, header: Mapping[str, ArraySpec]) -> int:
    """Refuse a described source for which other arrays are stored than it needs, before it is built."""
    SOURCE.check(document, "source")
    specs = [spec for name, spec in header.items() if name.startswith("source.")]
    stored, sites = sum(math.prod(spec.shape) for spec in specs), model.sites()
    needed = _numbers(document, Layout.of(sites)) if sites else 0
    if document["kind"] == "Pruned":
        needed += sum(sites[name].initial.numel() for name in prunable(model))
    if stored != needed or not sites:
        raise StorageError(
            f"the draws do not belong to the model: they take {needed} numbers; stored are {stored}. {AGAIN}"
        )
    return sum(spec.nbytes for spec in specs)


def _numbers(document: Mapping[str, Any], layout: Layout) -> int:
    """How many numbers the arrays of a described source hold."""
    random, points = (sum(layout.sizes(names)) for names in (layout.random, layout.points))
    independent = 2 * random + points
    match document["kind"]:
        case "Pruned":
            return _numbers(document["source"], layout)
        case "FullRankNormal":
            return independent + random**2
        case "BlockNormal":
            return independent + layout.factor_size
        case "LowRankNormal":
            return independent + random * document["rank"]
        case "Flow":
            return independent + _flow_numbers(random, document)
        case "Ensemble":
            return (independent + 1) * document["members"]
        case "StoredDraws":
            return (random + points + layout.drawn_size) * document["draws"]
    return independent


def _flow_numbers(random: int, document: Mapping[str, Any]) -> int:
    if random < 2:
        raise StorageError(f"a Flow has two entries or more; the model has {random}. {AGAIN}")
    flow = RealNVP(random, document["hidden"], document["layers"], device="meta", prior="point")
    return sum(value.numel() for value in flow.parameters())


def check(source: Guide | StoredDraws | Pruned, model: BayesianModel) -> None:
    """Refuse a source whose loaded arrays are finite, but whose draws would not be."""
    # Or not positive where they must.
    if isinstance(source, Pruned):
        check(source.source, model)
        return
    positive = [name for name, site in model.sites().items() if site.positive]
    if isinstance(source, StoredDraws):
        ends: list[Mapping[str, Tensor]] = [source.samples]
    else:
        arrays = {name: value.detach() for name, value in source.named_parameters()}
        _check_range(arrays)
        spread = _DEVIATIONS * arrays["log_scale"].exp() if positive else arrays["log_scale"]
        both = [arrays["loc"] + spread, arrays["loc"] - spread] if positive else []
        ends = [source.layout.values(loc, arrays["point"]) for loc in both]
    if isinstance(source, Flow):  # where its draws lie only they tell
        ends = [source.draw(_DRAWS, seed=0)]
        for name, value in ends[0].items():
            _check_all(value, torch.isfinite, f"the draws of {show(name)} must be finite")
    for name in positive:
        for end in ends:
            _check_all(
                end[name], lambda it: (it > 0) & it.isfinite(), f"{show(name)} must be positive and finite"
            )
    if isinstance(source, Ensemble) and abs(float(source.log_weight.exp().sum()) - 1) > _ROUNDING:
        raise StorageError(f"the weights of the ensemble must add up to 1; they do not. {AGAIN}")


def _check_range(arrays: Mapping[str, Tensor]) -> None:
    most = torch.finfo(arrays["loc"].dtype).max
    # A factor multiplies the deviations, and the noise both: the product must not overflow.
    scale = most**0.5 / 16 if "factor" in arrays else most / 64
    _check_all(
        arrays["loc"], lambda it: it.abs() < most / 2, "the guide's means must leave room for its draws"
    )
    _check_all(arrays["log_scale"], lambda it: it.exp() < scale, "the guide's deviations must not overflow")
    if "factor" in arrays:
        _check_all(arrays["factor"], lambda it: it.abs() < scale, "the guide's factor must not overflow")


def _check_all(value: Tensor, good: Callable[[Tensor], Tensor], sentence: str) -> None:
    # In pieces: finding out must not take the memory of the array again.
    if not all(bool(good(piece).all()) for piece in value.detach().flatten().split(2**17)):
        raise StorageError(f"{sentence}; some are not. {AGAIN}")


def _low_rank(model: BayesianModel, rank: int) -> LowRankNormal:
    guide = LowRankNormal(model, rank=1)
    check_rank(rank, len(guide.loc))
    guide.factor = nn.Parameter(guide.factor.detach().expand(-1, rank))
    return guide


def _ensemble(model: BayesianModel, members: int, weights: Any) -> Ensemble:
    guide = Ensemble(model, members=1)
    guide.weights = weights
    for name, value in list(guide.named_parameters()):
        setattr(guide, name, nn.Parameter(value.detach().expand(members, -1)))
    guide.log_weight = guide.log_weight.expand(members)
    return guide


def _stored_draws(model: BayesianModel, draws: int) -> StoredDraws:
    sites = model.sites()
    return StoredDraws(
        {name: site.initial.expand(draws, *site.initial.shape) for name, site in sites.items()}
    )


def _without_memory(source: Guide | StoredDraws | Pruned) -> Guide | StoredDraws | Pruned:
    """Put a stand-in, one number seen everywhere, in the place of each array: memory comes with the values."""
    for name, value in [*source.named_parameters(), *source.named_buffers()]:
        stand_in = value.detach().new_zeros(()).expand(value.shape)
        path, _, leaf = name.rpartition(".")
        new = nn.Parameter(stand_in) if isinstance(value, nn.Parameter) else stand_in
        setattr(source.get_submodule(path), leaf, new)
    return source
