"""What every likelihood offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ShapeError
from ..priors import Site


class Likelihood(ABC):
    """What the network's output means for the targets."""

    outputs_per_target: Literal["one", "classes"] = "one"

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the latent sites that the likelihood adds.

        Args:
            like: A tensor with the dtype and device to use.

        Returns:
            Site name to site; empty for most likelihoods.
        """
        return {}

    @abstractmethod
    def distribution(self, f: Tensor, **latents: Tensor) -> Any:
        """Build the distribution of the targets.

        Args:
            f: Network output, ``(*batch, N, outputs)``.
            **latents: Values of :meth:`sites`.

        Returns:
            A Pyro distribution with batch shape ``(*batch, N)``.
        """

    def moments(self, f: Tensor, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and variance of the targets for each draw.

        Args:
            f: Network output, ``(*batch, N, outputs)``.
            **latents: Values of :meth:`sites`.

        Returns:
            Mean and variance, each of shape ``(*batch, N)`` or ``(*batch, N, K)``.
        """
        y = self.distribution(f, **latents)
        return y.mean, y.variance

    def check_shapes(self, f: Tensor, y: Tensor | None) -> None:
        """Refuse outputs and targets that do not belong together; nothing is broadcast away.

        Args:
            f: Network output.
            y: Targets, or ``None``.

        Raises:
            ShapeError: If ``f`` is not ``(..., N, outputs)`` or ``y`` not ``(N,)`` or ``(N, K)`` as the
                likelihood has it.
        """
        if f.dim() < 2:
            raise ShapeError(
                "network(x)", ("N", "outputs"), f.shape, "Keep the axis of outputs, even for one."
            )
        if y is None:
            return
        expected = (
            f.shape[-2:-1] if self.outputs_per_target == "classes" or f.shape[-1] == 1 else f.shape[-2:]
        )
        if y.shape != expected:
            raise ShapeError("y", expected, y.shape, _hint(y, expected))

    def observed(self, f: Tensor, y: Tensor | None) -> Tensor | None:
        """Check targets against the output, and give them the type that the distribution takes.

        Args:
            f: Network output.
            y: Targets of any dtype, or ``None``.

        Returns:
            The targets, or ``None``.

        Raises:
            ShapeError: As in :meth:`check_shapes`.
        """
        self.check_shapes(f, y)
        return None if y is None else y.to(f.dtype)

    @abstractmethod
    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that the likelihood cannot have produced.

        Args:
            y: Targets.
            outputs: Outputs of the network a row.

        Raises:
            DataError: If a target is out of range or not finite.
        """


def _hint(y: Tensor, expected: torch.Size) -> str:
    if len(expected) == 1 and y.shape == (*expected, 1):
        return "Use y.squeeze(-1)."
    if len(expected) == 2 and y.shape == expected[:1]:
        return f"The network has {expected[1]} outputs a row, for {expected[1]} targets a row."
    return ""


def last_axis(f: Tensor) -> tuple[Tensor, int]:
    """One output is no axis of the target; several are its event axis."""
    return (f.squeeze(-1), 0) if f.shape[-1] == 1 else (f, 1)
