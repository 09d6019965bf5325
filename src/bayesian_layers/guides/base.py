"""`Guide`: the interface of all variational families."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ..model import BayesianModel
from ..noise import standard_normal
from .kl import FlatPriors
from .layout import flatten
from .sampling import FlatSampler, default_scale

_ROUNDING = 1e-2  # of standard deviations in half precision
_REPLICATES, _DRAWS_PER_SET, _MAX_NUMBERS = (
    16,
    64,
    2**24,
)  # sets of fixed draws; numbers in all of them together


class Guide(FlatSampler):
    r"""Variational family :math:`q(w; \phi)`, with its parameters :math:`\phi`.

    A Pyro guide with one site for each latent site of the model. The entries of all sites with a prior are
    in one flat vector on the unconstrained axis (the logarithm of a positive site), in which the families
    are Gaussian. A site without a prior is a ``Delta`` at its point estimate. A site with the prior
    ``bl.priors.Noise`` is drawn from it and is part of neither q's density nor the KL. The locations start at the
    network's present values; all parameters exist from construction, without data and without randomness.

    A guide is trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer on
    ``TraceMeanField_ELBO()(model, guide)``; the last two leave Pyro's parameter store as it was.

    Args:
        model: The model that the guide is for; it is only read.
        init_scale: Standard deviation at which each random entry starts, above 0; ``None`` for one over the inputs
            of the widest layer, between 0.02 and 0.1.

    Attributes:
        layout: Where each site is in the flat vectors.
        init_scale: Standard deviation at which each random entry starts.
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of scales of these entries, ``(P,)``: of standard deviations if they are independent.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.
    """

    # What a family must define.

    @abstractmethod
    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector.

        Args:
            flat: Values of the random entries, ``(S, P)``, unconstrained.

        Returns:
            Nats, ``(S,)``.
        """

    @abstractmethod
    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\mathrm{KL}(q \| p)` in closed form, with the weights of ``priors``.

        For a prior without a closed form this is the KL from its Normal reference (``bl.priors.Prior``).

        Args:
            priors: From :meth:`flat_priors`.

        Returns:
            Nats, ``()``; gradients flow to the parameters.
        """

    # What a family may define.

    @property
    def particle_multiple(self) -> int:
        """The number of draws of a step should be a multiple of this."""
        return 1

    @property
    def max_fan_in(self) -> int:
        """Inputs of the widest layer that a step of a fit changes; the larger, the smaller its steps must be."""
        return self.layout.max_fan_in

    @property
    def is_mean_field(self) -> bool:
        """Whether the entries are independent Normals with means ``loc`` and standard deviations ``exp(log_scale)``."""
        return False

    def variance(self) -> Tensor | None:
        """Return the variances of the entries, ``(P,)``, unconstrained, if q is one Gaussian; ``None`` otherwise."""
        return None

    def marginals(self) -> tuple[Tensor, Tensor] | None:
        """Return means and standard deviations of the entries, unconstrained, within each mode; None if not known."""
        variance = self.variance()
        return None if variance is None else (self.loc, variance.sqrt())

    def variance_within_modes(self) -> Tensor | None:
        """Return the variances about the mode that a draw belongs to, ``(P,)``, where they have a closed form."""
        return self.variance()

    def blocks(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and Cholesky factor of the sites that are Normal with a covariance per row: here none."""
        return {}

    @property
    def has_natural_coordinates(self) -> bool:
        """Whether :meth:`retract` is anything but addition."""
        return False

    def retract(self, here: Mapping[str, Tensor], step: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a step in the coordinates in which an optimizer that does not know the family does best.

        Args:
            here: Name of a trained parameter to its value.
            step: The same names to steps, of the same shapes.

        Returns:
            The same names to the values after the step; where all steps are 0, those of ``here``. By default the sum.
        """
        return {name: value + step[name] for name, value in here.items()}

    def start_at(self, loc: Tensor, point: Tensor, log_scale: Tensor) -> None:
        """Set means, point estimates and standard deviations, before any training.

        Args:
            loc: Means, of the shape of :attr:`loc`.
            point: Point estimates, of the shape of :attr:`point`.
            log_scale: Logarithms of the standard deviations of the entries, of the shape of :attr:`log_scale`.
        """
        with torch.no_grad():
            self.loc.copy_(loc)
            self.point.copy_(point)
            self.log_scale.copy_(log_scale)

    def is_new(self, model: BayesianModel) -> bool:
        """Whether the parameters are those of construction, from the network's values and the default ``init_scale``.

        Args:
            model: The model that the guide was made for.

        Returns:
            False once the guide was trained or set, or if it was made with another ``init_scale``.
        """
        sites, layout = model.sites(), self.layout
        same = all(
            torch.equal(torch.atleast_2d(values.detach())[0], flatten(sites, names))
            for values, names in ((self.loc, layout.random), (self.point, layout.points))
        )
        variance = self.variance_within_modes()
        variance = (2 * self.log_scale).exp() if variance is None else variance
        return same and bool(((variance.sqrt() / default_scale(layout) - 1).abs() < _ROUNDING).all())

    def finalize(self, log_likelihoods: Tensor, model: BayesianModel) -> None:
        """Set what is only set after training; called once, at the end of a fit. By default nothing.

        Args:
            log_likelihoods: Log likelihood of the whole data set under each draw of :meth:`transform`, nats, ``(S,)``.
            model: The model that the guide was made for.
        """

    # The KL.

    def flat_priors(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> FlatPriors:
        """Gather the constants of the KL, once for many calls of :meth:`kl_to`.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            The priors as flat vectors.

        Raises:
            DataError: If a weight is negative or not finite.
            SiteError: If the guide was made for another model, or ``kl_weight`` names a site that does not exist.
        """
        self.check_made_for(model)
        return FlatPriors.of(model.sites(), self.layout, kl_weight)

    def estimates_kl(self, priors: FlatPriors) -> bool:
        """Check whether part of the KL has no closed form, so that :meth:`kl_estimate` depends on the noise."""
        return bool(priors.sampled)

    def kl_estimate(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        r"""Compute :math:`\mathrm{KL}(q \| p)` in closed form, or estimate it on the draws of a step.

        .. math:: \mathrm{KL}(q \| p) \approx \mathrm{KL}(q \| \text{references})
                  - \tfrac1S \textstyle\sum_s \log p(w_s) - \log \text{references}(w_s)

        An unbiased estimate with an unbiased gradient. The last term vanishes for priors that are their own reference.

        Args:
            priors: From :meth:`flat_priors`.
            noise: Standard normal, ``(S, noise_size)``: that of the draws.

        Returns:
            Nats, ``()``; gradients flow to the parameters.
        """
        kl = self.kl_to(priors)
        return kl - self._log_ratio(priors, noise).mean() if self.estimates_kl(priors) else kl

    def weighted_kl(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> Tensor:
        r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_j \| p_j)`.

        In closed form where there is one; otherwise the mean of :meth:`kl_replicates`.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            Nats, ``()``; gradients flow to the guide's parameters.
        """
        priors = self.flat_priors(model, kl_weight)
        return self._kl_replicates(priors).mean() if self.estimates_kl(priors) else self._closed_kl(priors)

    def kl_replicates(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> Tensor:
        """Compute :meth:`weighted_kl` on 16 independent sets of 64 draws, fewer for large guides.

        The draws are the same at every call, so an estimate has no noise between calls; the spread over the sets
        shows its error.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            Nats, ``(16,)``; all the same where the KL has a closed form.
        """
        priors = self.flat_priors(model, kl_weight)
        if self.estimates_kl(priors):
            return self._kl_replicates(priors)
        return self._closed_kl(priors).expand(_REPLICATES)

    def _closed_kl(self, priors: FlatPriors) -> Tensor:
        """Compute the KL of the guide as :meth:`draw` draws from it."""
        return self.kl_to(priors)

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        ratios = [self._log_ratio(priors, noise).mean() for noise in self._fixed_noise()]
        return self._closed_kl(priors) - torch.stack(ratios)

    def _log_ratio(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        """Return what the closed form of the KL leaves out, per draw: ``(S,)``."""
        return priors.log_ratio(self.unconstrained(noise), self.points(len(noise)))

    def _fixed_noise(self) -> tuple[Tensor, ...]:
        """Return sets of antithetic noise, always the same, for estimates without data."""
        like, least = self.loc, 2 * self.particle_multiple
        wanted = min(_DRAWS_PER_SET, _MAX_NUMBERS // (_REPLICATES * max(1, self.noise_size)))
        draws = max(1, wanted // least) * least
        half = standard_normal(
            0, _REPLICATES * draws // 2, self.noise_size, dtype=like.dtype, device=like.device
        )
        return tuple(torch.cat([part, -part]) for part in half.split(draws // 2))


def check_is_guide(guide: object) -> None:
    """Raise TypeError unless a guide is one of the library's; tell how the posterior of a guide of Pyro is made."""
    if isinstance(guide, Guide):
        return
    hint = ""
    if isinstance(guide, type) and issubclass(guide, Guide):
        hint = f". Make one for the model: {guide.__name__}(model)"
    elif callable(guide):
        hint = (
            ". Train a guide of Pyro by pyro.infer.SVI(model, guide, ...), and pass its draws on: draws = "
            "pyro.infer.Predictive(guide, num_samples=1000)(x, y); "
            "bl.Posterior.from_samples(model, {name: draws[name] for name in model.sites()})"
        )
    name = getattr(guide, "__name__", type(guide).__name__) if callable(guide) else repr(guide)
    raise TypeError(
        f"`guide` must be one of bl.guides, such as bl.guides.MeanFieldNormal(model); received {name}{hint}"
    )
