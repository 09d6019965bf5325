"""Estimators in which every row of the batch has noise of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import SiteError
from ..model import BayesianModel
from ..network import Inputs, dtype_and_device, num_rows
from ..protocols import Guide, Moments
from .base import Estimator, total_log_likelihood
from .operations import OPS, Op, bind
from .tracing import Call, address

# Replaces an op on its inputs, weight and bias.
Layer = Callable[[Op, tuple[Tensor, ...], Tensor, Tensor | None], Tensor]


class PerRow(Estimator):
    """Runs the model's program once, with the arithmetic of supported layers replaced by one with noise per row."""

    # S particles are S copies of the rows, with antithetic noise in pairs. Sites that are not supported have ONE draw
    # for all copies, made from the first row of the guide's noise. Supported weights are NaN everywhere but in their
    # own layer, so that any unsupported use yields NaN instead of a wrong result.

    def __init__(
        self, model: BayesianModel, calls: tuple[Call, ...], supported: tuple[str, ...], note: str
    ) -> None:
        sites = model.sites()
        self.supported = supported
        self.note = note
        # Sites that are drawn from their prior are those of a process; if it is supported, no function is drawn.
        self.uses_noise = any(
            site.prior is not None and not site.prior.drawn and name not in supported
            for name, site in sites.items()
        )
        # The values of a process at single rows have the same expectation as functions, with far less noise.
        self.use_for_evaluation = any(call.op == "process" for call in calls) and not self.uses_noise
        self._model = model
        self._calls = calls
        self._dtype, self._device = dtype_and_device(model.network)
        self._hidden = {
            name: torch.full((), torch.nan, dtype=self._dtype, device=self._device).expand(
                sites[name].initial.shape
            )
            for name in supported
        }

    @classmethod
    @abstractmethod
    def supports(cls, call: Call) -> tuple[str | None, ...]:
        """Return the sites of a call that the estimator treats, if each is used nowhere else."""

    @classmethod
    def obstacle(cls, call: Call, site: str) -> str:
        """Describe why the estimator does not treat a site of a call."""
        return f"{call.op} on {len(call.input_shapes[0])} axes"

    @abstractmethod
    def _layers(
        self, moments: Moments, epsilon: Mapping[str, Tensor], row_noise: tuple[Tensor, ...]
    ) -> list[Layer]:
        """Return the replacement of each call; ``epsilon`` is the guide's noise per site."""

    def _empty(self, particles: int, rows: int, sizes: list[int], generator: torch.Generator) -> Tensor:
        """Allocate the noise of one of each antithetic pair of particles, for all layers at once."""
        total = (particles + 1) // 2 * rows * sum(sizes)
        return torch.empty(total, device=generator.device, dtype=self._dtype)

    def _cut(self, flat: Tensor, particles: int, rows: int, sizes: list[int]) -> list[Tensor]:
        """Split it into ``((S + 1) // 2 * N, size)`` per layer."""
        half = (particles + 1) // 2 * rows
        parts = flat.to(self._device).split([half * size for size in sizes])
        return [part.view(half, size) for part, size in zip(parts, sizes, strict=True)]

    def __call__(
        self,
        guide: Guide,
        noise: Tensor,
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        *,
        scale: float,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Estimate the expected log likelihood, summed over rows."""
        particles = len(noise)
        independent = guide.moments() or {}
        epsilon = guide.layout.split(guide.own_noise(noise)[0], guide.layout.random)
        layers = self._layers({**independent, **guide.blocks()}, epsilon, row_noise)
        by_address = {
            address(self._hidden[site]): (site, layer)
            for call, layer in zip(self._calls, layers, strict=True)
            for site in (call.weight, call.bias)
            if site in self._hidden
        }
        values = {name: value.squeeze(0) for name, value in guide.transform(noise[:1]).items()}
        # The same numbers as `transform` gives, without a gradient through all the others.
        values |= {
            name: loc + std * epsilon[name]
            for name, (loc, std) in independent.items()
            if name not in self.supported
        }
        with _Replaced(by_address, particles * num_rows(x)):
            total = total_log_likelihood(
                self._model,
                values | self._hidden,
                _copies(x, particles),
                _copies(y, particles),
                None if weight is None else _copies(weight, particles),
            )
        return total * (scale / particles)


class _Replaced(TorchFunctionMode):
    """Replaces the functions that take a hidden weight or bias."""

    # `layers` maps the address of the hidden tensor to its site and the replacement; `rows` are those of their inputs.
    def __init__(self, layers: Mapping[int, tuple[str, Layer]], rows: int) -> None:
        super().__init__()
        self._layers = layers
        self._rows = rows
        self._done: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in OPS:
            return func(*args, **kwargs)
        _, bound = bind(func, args, kwargs)
        found = address(bound.weight)
        if found not in self._layers:
            found = 0 if bound.bias is None else address(bound.bias)
        if found not in self._layers:
            return func(*args, **kwargs)
        site, layer = self._layers[found]
        if found in self._done or any(len(part) != self._rows for part in bound.inputs):
            raise SiteError(
                f"the network uses `{site}` differently than when it was traced (twice, or not once per row). "
                'Use estimator="reparameterization".'
            )
        self._done.add(found)
        return layer(bound.op, bound.inputs, bound.weight, bound.bias)


def _copies(x: Any, times: int) -> Any:
    """Repeat the rows."""
    if times == 1:
        return x
    if isinstance(x, tuple):
        return tuple(_copies(part, times) for part in x)
    return x.repeat(times, *[1] * (x.dim() - 1))


def paired(half: Tensor, other: Tensor, rows: int) -> Tensor:
    """Concatenate the two halves of antithetic pairs of particles, in the order of the guide's noise."""
    return half if rows == len(half) else torch.cat([half, other])[:rows]
