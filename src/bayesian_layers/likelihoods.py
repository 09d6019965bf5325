"""Likelihoods: from the network's output to the distribution of the targets, with its moments.

``f`` has shape ``(*batch, N, outputs)``. Targets have shape ``(N,)`` where there is one a row, else
``(N, K)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from . import priors
from .errors import DataError, ShapeError, StorageError
from .priors import LogNormal, Site


@dataclass(frozen=True)
class Prediction:
    r"""Moments of the predictive distribution, in the shape and the units of ``y``.

    By the law of total variance
    :math:`\operatorname{Var}[y] = \operatorname{Var}_w[E[y \mid w]] + E_w[\operatorname{Var}[y \mid w]]`, so
    ``std**2 == epistemic_std**2 + aleatoric_std**2``. For classes ``mean`` is the probability and
    ``epistemic_std`` its deviation over the draws of the weights.

    Attributes:
        mean: Predictive mean; ``P(y = 1)`` for Bernoulli, ``(N, K)`` probabilities for Categorical.
        epistemic_std: Standard deviation that comes from not knowing the weights.
        aleatoric_std: Standard deviation that would remain if they were known.

    Raises:
        ShapeError: If the fields differ in shape.

    References:
        Kendall & Gal (2017), arXiv 1703.04977.
    """

    mean: Tensor
    epistemic_std: Tensor
    aleatoric_std: Tensor

    def __post_init__(self) -> None:
        for name in ("epistemic_std", "aleatoric_std"):
            if getattr(self, name).shape != self.mean.shape:
                raise ShapeError(name, self.mean.shape, getattr(self, name).shape)

    @property
    def std(self) -> Tensor:
        """Total standard deviation, in the shape and units of ``y``."""
        return torch.hypot(self.epistemic_std, self.aleatoric_std)


class Likelihood(ABC):
    """What the network's output means for the targets."""

    outputs_per_target: Literal["one", "classes"] = "one"

    def sites(self, like: Tensor) -> dict[str, Site]:  # noqa: ARG002
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


def _check_finite(y: Tensor) -> None:
    bad = int((~torch.isfinite(y)).sum()) if y.is_floating_point() else 0
    if bad:
        raise DataError(f"`y` has {bad} values that are NaN or infinite; remove or impute these rows")


def _last_axis(f: Tensor) -> tuple[Tensor, int]:
    """One output is no axis of the target; several are its event axis."""
    return (f.squeeze(-1), 0) if f.shape[-1] == 1 else (f, 1)


class Bernoulli(Likelihood):
    r"""Two classes, or several independent labels: :math:`P(y_k = 1 \mid x, w) = \sigma(f_k(x))`.

    One output (a logit) a target; ``y`` holds 0 and 1, of any dtype, with shape ``(N,)`` for one output
    and ``(N, K)`` for K.

    Example:
        >>> Bernoulli().moments(torch.zeros(1, 5, 1))[0].shape
        torch.Size([1, 5])
    """

    def distribution(self, f: Tensor, **latents: Tensor) -> Any:  # noqa: ARG002
        """Build the distribution of the labels; see :meth:`Likelihood.distribution`.

        Args:
            f: Logits, ``(*batch, N, outputs)``.
            **latents: None.

        Returns:
            A Bernoulli with batch shape ``(*batch, N)``.
        """
        logits, event_dim = _last_axis(f)
        # float labels, as losses take them; the values are checked once, before a fit, not at every step
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:  # noqa: ARG002
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
        >>> Categorical().moments(torch.zeros(1, 5, 4))[0].shape
        torch.Size([1, 5, 4])
    """

    outputs_per_target = "classes"

    def distribution(self, f: Tensor, **latents: Tensor) -> Any:  # noqa: ARG002
        """Build the distribution of the classes; see :meth:`Likelihood.distribution`.

        Args:
            f: Logits, ``(*batch, N, K)``.
            **latents: None.

        Returns:
            A Categorical with batch shape ``(*batch, N)``.
        """
        return dist.Categorical(logits=f, validate_args=False)

    def moments(self, f: Tensor, **latents: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Give probability and variance of each class's indicator.

        Args:
            f: Logits, ``(*batch, N, K)``.
            **latents: None.

        Returns:
            Mean and variance, each of shape ``(*batch, N, K)``.
        """
        probabilities = f.softmax(-1)
        return probabilities, probabilities * (1 - probabilities)

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


@dataclass(frozen=True)
class Normal(Likelihood):
    r"""Real targets with Normal noise: :math:`y_k \mid x, w \sim N(f_k(x), \text{noise\_scale}^2)`.

    One output a target; ``y`` has shape ``(N,)`` for one output and ``(N, K)`` for K, which share the scale.

    Attributes:
        noise_scale: Standard deviation of the noise, in the units of ``y``: a number; ``"learned"`` for a
            point estimate (site ``noise_scale``, kept in the guide, first 1); or a ``bl.priors.LogNormal``,
            whose guide is log-normal.

    Raises:
        DataError: If a number is not finite and positive, or something else comes.

    Example:
        >>> Normal(0.1).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0100])
    """

    noise_scale: float | Literal["learned"] | LogNormal = "learned"

    def __post_init__(self) -> None:
        scale = self.noise_scale
        if isinstance(scale, LogNormal) or scale == "learned":
            return
        if not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise DataError(
                "`noise_scale` is a standard deviation: a number above 0, 'learned' or a bl.priors.LogNormal; "
                f"received {scale!r}"
            )

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the site ``noise_scale``, unless its value is given.

        Args:
            like: A tensor with the dtype and device to use.

        Returns:
            The site, or nothing.
        """
        if isinstance(self.noise_scale, LogNormal):
            median = like.new_tensor(self.noise_scale.loc).exp()
            return {"noise_scale": Site(median, self.noise_scale, positive=True)}
        if self.noise_scale == "learned":
            return {"noise_scale": Site(like.new_tensor(1.0), None, positive=True)}
        return {}

    def distribution(self, f: Tensor, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`.

        Args:
            f: Means, ``(*batch, N, outputs)``.
            **latents: ``noise_scale``, unless it is a number; shape ``(*batch, 1)`` or ``()``.

        Returns:
            A Normal with batch shape ``(*batch, N)``.
        """
        mean, event_dim = _last_axis(f)
        scale: Any = latents.get("noise_scale", self.noise_scale)
        if event_dim and isinstance(scale, Tensor):
            scale = scale.unsqueeze(-1)
        return dist.Normal(mean, scale).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:  # noqa: ARG002
        """Refuse targets that are not finite.

        Args:
            y: Targets.
            outputs: Outputs of the network a row.

        Raises:
            DataError: If a target is NaN or infinite.
        """
        _check_finite(y)


def moments(likelihood: Likelihood, f: Tensor, latents: Mapping[str, Tensor]) -> Prediction:
    """Reduce draws of the network's output to predictive moments.

    Args:
        likelihood: What the output means.
        f: Outputs for ``S >= 2`` draws, shape ``(S, N, outputs)``.
        latents: Draws of the likelihood's own sites, each ``(S, 1)``.

    Returns:
        Moments with the shape of ``y``. The deviation over draws is the population's, divided by S.

    Raises:
        ShapeError: If ``f`` holds fewer than two draws: they have no deviation.

    References:
        Kendall & Gal (2017), arXiv 1703.04977.
    """
    if f.dim() < 3 or len(f) < 2:
        raise ShapeError("f", ("S >= 2", "N", "outputs"), f.shape, "Take more draws.")
    mean, variance = likelihood.moments(f, **latents)
    return Prediction(mean.mean(0), mean.std(0, correction=0), variance.expand_as(mean).mean(0).sqrt())


def to_document(likelihood: Likelihood | None) -> dict[str, Any] | None:
    """Describe a likelihood in JSON's types.

    Args:
        likelihood: One of this module's, or ``None``.

    Returns:
        Its name and arguments, or ``None``.

    Raises:
        StorageError: If it is a class that the library does not know.
    """
    if likelihood is None:
        return None
    name = type(likelihood).__name__
    if type(likelihood) not in (Bernoulli, Categorical, Normal):
        raise StorageError(
            f"a likelihood of the class {name} cannot be saved: it is not one of bl.likelihoods"
        )
    if not isinstance(likelihood, Normal):
        return {"name": name}
    scale = likelihood.noise_scale
    return {"name": name, "noise_scale": priors.to_document(scale) if isinstance(scale, LogNormal) else scale}


def from_document(document: Any) -> Likelihood | None:
    """Build the likelihood that :func:`to_document` described.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        The likelihood, or ``None``.

    Raises:
        StorageError: If the description is not one of a known likelihood.
    """
    if document is None:
        return None
    kinds = {kind.__name__: kind for kind in (Bernoulli, Categorical, Normal)}
    try:
        arguments = dict(document)
        kind = kinds[arguments.pop("name")]
        if isinstance(arguments.get("noise_scale"), dict):
            arguments["noise_scale"] = priors.from_document(arguments["noise_scale"])
        return kind(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        message = f"a likelihood must be one of {sorted(kinds)} with its arguments; received {document}"
        raise StorageError(message) from error
