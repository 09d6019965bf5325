"""Several mean-field Normals, trained together, as one mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments import check_choice, check_integer
from ..errors import DataError, ShapeError, StorageError
from ..model import BayesianModel
from ..noise import standard_normal
from ..saving import AGAIN
from ..saving.schema import Integer, String
from .base import Guide
from .kl import FlatPriors
from .layout import flatten
from .restarts import restarted_sites

Weights = Literal["elbo", "equal"]
_ROUNDING = 0.01  # half precision rounds each of many weights


class Ensemble(Guide):
    r"""A mixture of K mean-field Normals with different starts, trained together as one vectorized program.

    .. math:: q(w) = \sum_{k=1}^K \pi_k \prod_j N(w_j; \text{loc}_{kj}, \exp(\text{log\_scale}_{kj})^2)

    A network's posterior has many modes, of which a mean-field Normal finds one. Member 0 starts at the network's
    present values, each other member at a fresh initialisation of the same network by its modules'
    ``reset_parameters``. Parameters of modules without that method start at their present values plus noise with
    standard deviation ``init_scale``, positive sites (a noise scale) at their present values.

    **Training.** ``transform`` gives row i of the noise to member i mod K, and ``kl_to`` is the mean of the members'
    KLs, so a fit minimises the mean of the members' negative ELBOs: each member is trained as if it were
    alone. This is a lower bound of the ELBO of the mixture with equal weights, since the entropy is concave: between 0
    (equal members) and log K (members that do not overlap) nats below it. The number of draws per step must be a
    multiple of K, so that each member gets equally many; with a multiple of 2K (``particle_multiple``) both draws of
    each antithetic pair also go to the same member.

    **Weights.** They are equal until the end of a fit, where :meth:`finalize` makes them the softmax of the members'
    ELBOs: the best weights of a mixture whose members do not overlap, as

    .. math:: \text{ELBO}(q) = \sum_k \pi_k (\text{ELBO}_k - \log \pi_k).

    ELBOs are nats of the whole data set: with many rows members differ by many nats, and the best member gets all
    the weight. These are the correct mixture weights under the model, but they usually select a single member.
    ``weights="equal"`` keeps all members, as deep ensembles do, which predict better where the model is wrong.
    Training ignores the weights; :meth:`draw`, :meth:`log_density`, :meth:`mean` and the Pyro program use them.

    **The Pyro program** draws the auxiliary site ``_member``, uniform on (0, 1), which with the weights selects the
    member. It has log density 0 and all sites are reparameterized, so ``TraceMeanField_ELBO``, ``Trace_ELBO``
    and ``TraceGraph_ELBO`` are correct: values and gradients are, in expectation, those of
    :math:`\sum_k \pi_k \text{ELBO}_k`, a lower bound of the mixture's ELBO; with equal weights those of ``bl.fit``.
    Each particle trains one member.

    Args:
        model: The model that the guide is for; it is only read.
        members: Number of members K.
        init_scale: Standard deviation at which each Normal starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.
        seed: Seed of the fresh initialisations; member k's depends on ``(seed, k)`` alone.
        weights: The weights after a fit: ``"elbo"`` or ``"equal"``.

    Attributes:
        loc: Means of the P entries that have a prior, ``(K, P)``, unconstrained.
        log_scale: Logarithms of their standard deviations, ``(K, P)``.
        point: The Q point-estimated entries, ``(K, Q)``, unconstrained.
        log_weight: Logarithms of the weights, ``(K,)``; a buffer.
        weights: ``"elbo"`` or ``"equal"``.

    Raises:
        DataError: If ``init_scale`` is not positive, ``members`` is not an integer above 0, ``weights`` is not one of
            these, or ``seed`` is negative.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Lakshminarayanan, Pritzel & Blundell (2017), "Simple and scalable predictive uncertainty estimation using
        deep ensembles", arXiv 1612.01474; Zobay (2014), "Variational Bayesian inference with Gaussian-mixture
        approximations"; Wilson & Izmailov (2020), arXiv 2002.08791.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = Ensemble(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()), members=4)
        >>> guide.loc.shape, guide.log_weight.exp()
        (torch.Size([4, 3]), tensor([0.2500, 0.2500, 0.2500, 0.2500]))
    """

    log_weight: Tensor

    ARGUMENTS: ClassVar = {"members": Integer(1, 2**20), "weights": String(("elbo", "equal"))}

    def __init__(
        self,
        model: BayesianModel,
        *,
        members: int = 5,
        init_scale: float | None = None,
        seed: int = 0,
        weights: Weights = "elbo",
    ) -> None:
        super().__init__(model, init_scale=init_scale)
        check_integer("members", members, least=1)
        check_choice("weights", weights, get_args(Weights))
        self.weights = weights
        starts = [
            model.sites(),
            *(restarted_sites(model, self.init_scale, seed, k) for k in range(1, members)),
        ]
        layout = self.layout
        self.loc = nn.Parameter(torch.stack([flatten(sites, layout.random) for sites in starts]))
        self.point = nn.Parameter(torch.stack([flatten(sites, layout.points) for sites in starts]))
        self.log_scale = nn.Parameter(torch.full_like(self.loc.detach(), self.init_scale).log())
        self.register_buffer("log_weight", self.loc.new_full((members,), -math.log(members)))

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Return how many numbers the guide's arrays have: those of each member, and its weight."""
        return (super().num_entries(arguments, model) + 1) * arguments["members"]

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        members = arguments["members"]
        guide = cls(model, members=1, weights=arguments["weights"])  # type: ignore
        for name, value in list(guide.named_parameters()):
            setattr(guide, name, nn.Parameter(value.detach().expand(members, -1)))  # takes no memory
        guide.log_weight = guide.log_weight.expand(members)
        return guide

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations of the members, ``(K, P)`` each."""
        return self.loc, self.log_scale.exp()

    def variance_within_modes(self) -> Tensor:
        """Return the mean of the members' variances, with the weights of the mixture."""
        return self.log_weight.softmax(0) @ (2 * self.log_scale).exp()

    def check_loaded(self, model: BayesianModel) -> None:
        """Check the members, and that the weights add up to 1."""
        super().check_loaded(model)
        if abs(float(self.log_weight.exp().sum()) - 1) > _ROUNDING:
            raise StorageError(f"the weights of the ensemble must add up to 1; they do not. {AGAIN}")

    @property
    def members(self) -> int:
        """Number of members K."""
        return len(self.loc)

    @property
    def particle_multiple(self) -> int:
        """The number of draws per step should be a multiple of 2K; it must be a multiple of K."""
        return 2 * self.members

    def _unconstrained(self, noise: Tensor) -> Tensor:
        # Row i by member i mod K, whatever the weights.
        rounds = self._rounds(len(noise))
        by_member = noise.reshape(rounds, self.members, self.own_noise_size)
        return (self.loc + self.log_scale.exp() * by_member).flatten(0, 1)

    def points(self, num_draws: int) -> Tensor:
        """Return the point-estimated entries that go with the draws of :meth:`unconstrained`."""
        return self.point.expand(self._rounds(num_draws), -1, -1).flatten(0, 1)

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of the mixture over the flat vector."""
        # One member after the other: all at once would take K times the memory of the draws.
        terms = [
            weight + dist.Normal(loc, log_scale.exp()).log_prob(flat).sum(1)
            for weight, loc, log_scale in zip(
                self.log_weight.log_softmax(0), self.loc, self.log_scale, strict=True
            )
        ]
        return torch.stack(terms).logsumexp(0)

    def member_kls(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_{kj} \| p_j)` of each member, ``(K,)``, in nats."""

        def kl(loc: Tensor, log_scale: Tensor, point: Tensor) -> Tensor:
            cross_entropy = priors.cross_entropy(loc, log_scale.exp().square(), point)
            return priors.total(cross_entropy - priors.sums(log_scale))

        return torch.vmap(kl)(self.loc, self.log_scale, self.point)

    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute the mean of the members' KLs, :math:`\tfrac1K \sum_k \mathrm{KL}(q_k \| p)`."""
        # Like the draws of :meth:`transform`, it ignores the weights of the mixture.
        return self.member_kls(priors).mean()

    def _closed_kl(self, priors: FlatPriors) -> Tensor:
        """Compute the mean with the weights that :meth:`draw` uses: at least the KL of the mixture."""
        return self.log_weight.softmax(0) @ self.member_kls(priors)

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        return self._member_kl_replicates(priors) @ self.log_weight.softmax(0)

    def _member_kl_replicates(self, priors: FlatPriors) -> Tensor:
        """Compute the members' KLs on sets of fixed draws, ``(R, K)``; one row where they have a closed form."""
        kls = self.member_kls(priors).unsqueeze(0)
        if not self.estimates_kl(priors):
            return kls
        ratios = [
            self._log_ratio(priors, noise).unflatten(0, (-1, self.members)) for noise in self._fixed_noise()
        ]
        return kls - torch.stack([ratio.mean(0) for ratio in ratios])

    @torch.no_grad()
    def finalize(self, log_likelihoods: Tensor, model: BayesianModel) -> None:
        r"""Set the weights: :math:`\pi_k \propto \exp(\text{ELBO}_k)`, or equal ones."""
        # The ELBO of a member, at KL weight 1, is the mean log likelihood of its draws minus its KL. Its Monte Carlo
        # error in nats is the error of the logarithm of the weight.
        if log_likelihoods.dim() != 1 or not len(log_likelihoods):
            raise ShapeError("log_likelihoods", ("S",), log_likelihoods.shape)
        self._rounds(len(log_likelihoods))
        expected = log_likelihoods.double().unflatten(0, (-1, self.members)).mean(0)
        elbos = expected - self._member_kl_replicates(self.flat_priors(model)).mean(0).to(expected)
        if self.weights == "equal":
            elbos = torch.zeros_like(elbos)
        log_weight = elbos.log_softmax(0)
        if bool(log_weight.isnan().any()):
            raise DataError(
                f"the weights of an Ensemble need finite ELBOs of its members; received {elbos.tolist()}. "
                'Fit with a smaller learning rate, or use weights="equal".'
            )
        # Finite, so that it can be saved.
        self.log_weight.copy_(log_weight.clamp(min=torch.finfo(self.log_weight.dtype).min))

    @torch.no_grad()
    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw from the mixture, with its weights."""
        size, like = self.own_noise_size, self.loc
        numbers = size + 1 + self.layout.drawn_size
        noise = standard_normal(seed, num_draws, numbers, start, dtype=like.dtype, device=like.device)
        member = self._choose(torch.special.ndtr(noise[:, size].double()))
        flat = self.loc[member] + self.log_scale.exp()[member] * noise[:, :size]
        return self.layout.values(flat, self.point[member], noise[:, size + 1 :])

    def mean(self) -> dict[str, Tensor]:
        """Return the mean of the member with the largest weight; for a log-normal site its median."""
        # The mean over members may have a low density, between two modes, and predict badly.
        best = int(self.log_weight.argmax())
        return self._center(self.loc[best], self.point[best])

    def _rounds(self, num_draws: int) -> int:
        rounds, left_over = divmod(num_draws, self.members)
        if left_over:
            wanted = -(-num_draws // self.particle_multiple) * self.particle_multiple
            raise DataError(
                f"the number of draws of an Ensemble must be a multiple of {self.members}, the number of its members; "
                f"received {num_draws}. Use {wanted}, so that each member gets pairs."
            )
        return rounds

    def _choose(self, uniform: Tensor) -> Tensor:
        """Select members by uniform numbers: the weight of a member is the length of its interval."""
        edges = self.log_weight.double().softmax(0).cumsum(0)
        found = torch.searchsorted(edges, uniform.detach().double().contiguous(), right=True)
        return found.clamp(max=self.members - 1)

    def _sample(self) -> dict[str, Tensor]:
        zero, one = self.log_weight.new_zeros(()), self.log_weight.new_ones(())
        # Uniform, not Categorical: its log density is 0 and it is reparameterized, as all ELBOs of Pyro require.
        uniform = pyro.sample("_member", dist.Uniform(zero, one), infer={"is_auxiliary": True})
        member = self._choose(uniform)
        loc, scale, point = self.loc[member], self.log_scale.exp()[member], self.point[member]
        sites = self._independent_normals(loc, scale, point)
        return {name: pyro.sample(name, q) for name, q in sites.items()}
