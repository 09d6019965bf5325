"""Likelihoods of classes and labels."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ..errors import DataError
from .base import Likelihood, last_axis


class Bernoulli(Likelihood):
    r"""Two classes, or several independent labels: :math:`P(y_k = 1 \mid x, w) = \sigma(f_k(x))`.

    One output (a logit) a target; ``y`` holds 0 and 1, of any dtype, with shape ``(N,)`` for one output
    and ``(N, K)`` for K.

    Example:
        >>> import torch
        >>> Bernoulli().moments(torch.zeros(1, 5, 1))[0].shape
        torch.Size([1, 5])
    """

    def distribution(self, f: Tensor, **latents: Tensor) -> Any:
        """Build the distribution of the labels; see :meth:`Likelihood.distribution`.

        Args:
            f: Logits, ``(*batch, N, outputs)``.
            **latents: None.

        Returns:
            A Bernoulli with batch shape ``(*batch, N)``.
        """
        logits, event_dim = last_axis(f)
        # float labels, as losses take them; the values are checked once, before a fit, not at every step
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse labels other than 0 and 1.

        Args:
            y: Labels.
            outputs: Outputs of the network a row.

        Raises:
            DataError: If there is another value.
        """
        bad = int(((y != 0) & (y != 1)).sum())
        if bad:
            raise DataError(f"`y` must hold 0 and 1; {bad} of its {y.numel()} values are something else")


class Categorical(Likelihood):
    r"""K classes: :math:`P(y = k \mid x, w) = \operatorname{softmax}(f(x))_k`.

    K outputs (logits) a target; ``y`` holds whole numbers from 0 to K - 1, shape ``(N,)``. Moments are those
    of the K indicators, shape ``(N, K)``: the mean is the probability.

    Example:
        >>> import torch
        >>> Categorical().moments(torch.zeros(1, 5, 4))[0].shape
        torch.Size([1, 5, 4])
    """

    outputs_per_target = "classes"

    def distribution(self, f: Tensor, **latents: Tensor) -> Any:
        """Build the distribution of the classes; see :meth:`Likelihood.distribution`.

        Args:
            f: Logits, ``(*batch, N, K)``.
            **latents: None.

        Returns:
            A Categorical with batch shape ``(*batch, N)``.
        """
        return dist.Categorical(logits=f, validate_args=False)

    def moments(self, f: Tensor, **latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give probability and variance of each class's indicator.

        Args:
            f: Logits, ``(*batch, N, K)``.
            **latents: None.

        Returns:
            Mean and variance, each of shape ``(*batch, N, K)``.
        """
        probabilities = f.softmax(-1)
        return probabilities, probabilities * (1 - probabilities)

    def observed(self, f: Tensor, y: Tensor | None) -> Tensor | None:
        """Check classes against the output, and make them whole numbers.

        Args:
            f: Network output.
            y: Classes, or ``None``.

        Returns:
            The classes as ``int64``, or ``None``.

        Raises:
            ShapeError: As in :meth:`check_shapes`.
        """
        self.check_shapes(f, y)
        return None if y is None else y.long()

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse classes out of range.

        Args:
            y: Classes.
            outputs: Classes K that the network has outputs for.

        Raises:
            DataError: If a class is not a whole number from 0 to K - 1, or K is below 2.
        """
        if outputs < 2:
            raise DataError(
                "Categorical needs a network with one output a class, at least 2; for two classes "
                "and one output there is Bernoulli"
            )
        bad = int(((y < 0) | (y >= outputs) | (y != y.long())).sum())
        if bad:
            raise DataError(
                f"`y` must hold whole numbers from 0 to {outputs - 1}; {bad} of its {y.numel()} values are not"
            )
