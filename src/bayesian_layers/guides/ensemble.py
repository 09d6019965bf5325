"""Several mean-field Normals, trained together, as one mixture."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..errors import DataError, ShapeError, StorageError
from ..model import BayesianModel
from ..noise import seeded, standard_normal
from ..priors import Site
from ..saving import AGAIN
from ..saving.schema import Integer, String
from .base import Guide
from .kl import FlatPriors
from .layout import flatten

Weights = Literal["elbo", "equal"]
_ROUNDING = 0.01  # half precision rounds each of many weights
_RESTART = 11  # tells this stream from others of the same seed


class Ensemble(Guide):
    r"""A mixture of K mean-field Normals, each begun elsewhere, trained together as one vectorized program.

    .. math:: q(w) = \sum_{k=1}^K \pi_k \prod_j N(w_j; \text{loc}_{kj}, \exp(\text{log\_scale}_{kj})^2)

    A network's posterior has many modes, of which a mean-field Normal finds one. Member 0 begins at the network's
    present values, each other at a fresh initialisation of the same network by its modules' ``reset_parameters``;
    parameters of modules that have none begin at their present values plus noise of deviation ``init_scale``, and
    positive sites (a noise scale) at theirs.

    **Training.** ``transform`` gives row i of the noise to member i mod K, and ``kl_to`` is the mean of the members'
    KLs, so what a fit minimises is the mean of the members' negative ELBOs: each member is trained as if it were
    alone. It is a lower bound of the ELBO of the mixture with equal weights, since the entropy is concave: between 0
    (members alike) and log K (members apart) nats below it. S draws a step must be a multiple of K, so that each
    member gets as many; with a multiple of 2K (``particle_multiple``) both of each antithetic pair also go to the same
    member.

    **Weights.** Equal until :meth:`finalize`, which ends a fit, makes them the softmax of the members' ELBOs:
    the best weights of a mixture whose members do not overlap, as

    .. math:: \text{ELBO}(q) = \sum_k \pi_k (\text{ELBO}_k - \log \pi_k).

    ELBOs are nats of the whole data set: with many rows members differ by many nats, and the best takes all
    the weight. That is right of the posterior that the model says, but no ensemble any more;
    ``weights="equal"`` keeps all members, as deep ensembles do, which predict better where the model is wrong.
    Training takes no notice of the weights, :meth:`draw`, :meth:`log_density`, :meth:`mean` and the Pyro program do.

    **As a Pyro program** it draws the auxiliary site ``_member``, uniform on (0, 1), which by the weights decides
    whose Normals the sites are. The auxiliary site has log density 0 and all sites are reparameterized, so
    ``TraceMeanField_ELBO``, ``Trace_ELBO`` and ``TraceGraph_ELBO`` are right: values and gradients are, in
    expectation, those of :math:`\sum_k \pi_k \text{ELBO}_k`, a lower bound of the mixture's ELBO; with equal weights
    those of ``bl.fit``. Each particle trains one member.

    Args:
        model: The model whose sites the guide covers; it is only read.
        members: Number of members K.
        init_scale: Standard deviation at which each Normal begins, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.
        seed: Seed of the fresh initialisations; member k's depends on ``(seed, k)`` alone.
        weights: ``"elbo"`` or ``"equal"``: what the weights are after a fit.

    Attributes:
        loc: Means of the P entries that have a prior, ``(K, P)``, unconstrained.
        log_scale: Logarithms of their standard deviations, ``(K, P)``.
        point: The Q point-estimated entries, ``(K, Q)``, unconstrained.
        log_weight: Logarithms of the weights, ``(K,)``; a buffer.
        weights: What :meth:`finalize` makes of the weights.

    Raises:
        DataError: If ``init_scale`` is not positive, ``members`` no whole number above 0, ``weights`` unknown, or
            ``seed`` negative.
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
        if isinstance(members, bool) or not isinstance(members, int) or members < 1:
            raise DataError(f"`members` must be a whole number, 1 or more; received {members!r}")
        check_weights(weights)
        self.weights = weights
        starts = [model.sites(), *(_restarted(model, self.init_scale, seed, k) for k in range(1, members))]
        layout = self.layout
        self.loc = nn.Parameter(torch.stack([flatten(sites, layout.random) for sites in starts]))
        self.point = nn.Parameter(torch.stack([flatten(sites, layout.points) for sites in starts]))
        self.log_scale = nn.Parameter(torch.full_like(self.loc.detach(), self.init_scale).log())
        self.register_buffer("log_weight", self.loc.new_full((members,), -math.log(members)))

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Return how many numbers the guide's arrays hold: those of each member, and its weight."""
        return (super().num_entries(arguments, model) + 1) * arguments["members"]

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        members = arguments["members"]
        guide = cls(model, members=1, weights=arguments["weights"])  # type: ignore
        for name, value in list(guide.named_parameters()):
            setattr(guide, name, nn.Parameter(value.detach().expand(members, -1)))  # takes no memory
        guide.log_weight = guide.log_weight.expand(members)
        return guide

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
    def own_noise_size(self) -> int:
        """Standard normal numbers that one draw of the random entries takes: P."""
        return self.loc.shape[1]

    @property
    def particle_multiple(self) -> int:
        """Draws a step come in multiples of this, 2K; K will do where two a member are too many."""
        return 2 * self.members

    def _unconstrained(self, noise: Tensor) -> Tensor:
        """Row i by member i mod K; S is a multiple of K, and each member makes as many, whatever the weights."""
        rounds = self._rounds(len(noise))
        by_member = noise.reshape(rounds, self.members, self.own_noise_size)
        return (self.loc + self.log_scale.exp() * by_member).flatten(0, 1)

    def points(self, num_draws: int) -> Tensor:
        """Give the point-estimated entries that go with the draws of :meth:`unconstrained`."""
        return self.point.expand(self._rounds(num_draws), -1, -1).flatten(0, 1)

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of the mixture over the flat vector."""
        terms = [  # one member after the other: all at once would take K times the memory of the draws
            weight + dist.Normal(loc, log_scale.exp()).log_prob(flat).sum(1)
            for weight, loc, log_scale in zip(
                self.log_weight.log_softmax(0), self.loc, self.log_scale, strict=True
            )
        ]
        return torch.stack(terms).logsumexp(0)

    def member_kls(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_{kj} \| p_j)` for each member, in closed form.

        Args:
            priors: From :meth:`flat_priors`.

        Returns:
            Nats, ``(K,)``; gradients flow to the parameters.
        """

        def kl(loc: Tensor, log_scale: Tensor, point: Tensor) -> Tensor:
            surprise = priors.surprise(loc, log_scale.exp().square(), point)
            return priors.total(surprise - priors.sums(log_scale))

        return torch.vmap(kl)(self.loc, self.log_scale, self.point)

    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute the mean of the members' KLs, :math:`\tfrac1K \sum_k \mathrm{KL}(q_k \| p)`."""
        # Weighted as ``priors`` says. Goes with the draws of :meth:`transform`: as those, it takes no
        # notice of the weights of the mixture.
        return self.member_kls(priors).mean()

    def _closed_kl(self, priors: FlatPriors) -> Tensor:
        """By the weights that :meth:`draw` has: at least the KL of the mixture."""
        return self.log_weight.softmax(0) @ self.member_kls(priors)

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        return self._member_kl_replicates(priors) @ self.log_weight.softmax(0)

    def _member_kl_replicates(self, priors: FlatPriors) -> Tensor:
        """The members' KLs by sets of fixed draws, ``(R, K)``; one row where they have a closed form."""
        kls = self.member_kls(priors).unsqueeze(0)
        if not self.estimates_kl(priors):
            return kls
        ratios = [
            self._log_ratio(priors, noise).unflatten(0, (-1, self.members)) for noise in self._fixed_noise()
        ]
        return kls - torch.stack([ratio.mean(0) for ratio in ratios])

    @torch.no_grad()
    def finalize(self, log_likelihoods: Tensor, model: BayesianModel) -> None:
        r"""Set the weights: :math:`\pi_k \propto \exp(\text{ELBO}_k)`, or equal ones, as ``weights`` says."""
        # A member's ELBO, at KL weight 1, is the mean log likelihood of its draws less its KL; the weights
        # have its Monte Carlo error, in nats.
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
        self.log_weight.copy_(
            log_weight.clamp(min=torch.finfo(self.log_weight.dtype).min)
        )  # finite: can be saved

    @torch.no_grad()
    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw from the mixture, by its weights."""
        size, like = self.own_noise_size, self.loc
        numbers = size + 1 + self.layout.drawn_size
        noise = standard_normal(seed, num_draws, numbers, start, dtype=like.dtype, device=like.device)
        member = self._choose(torch.special.ndtr(noise[:, size].double()))
        flat = self.loc[member] + self.log_scale.exp()[member] * noise[:, :size]
        return self.layout.values(flat, self.point[member], noise[:, size + 1 :])

    def mean(self) -> dict[str, Tensor]:
        """Give the mean of the member with the largest weight; for a log-normal site its median."""
        # A mean over members would be no function that the network has learned: between two modes there may
        # be a mountain.
        best = int(self.log_weight.argmax())
        return self._center(self.loc[best], self.point[best])

    def _rounds(self, num_draws: int) -> int:
        rounds, left_over = divmod(num_draws, self.members)
        if left_over:
            wanted = -(-num_draws // self.particle_multiple) * self.particle_multiple
            raise DataError(
                f"an Ensemble of {self.members} members takes draws in multiples of {self.members}, as many a member; "
                f"received {num_draws}. Use {wanted}, in pairs."
            )
        return rounds

    def _choose(self, uniform: Tensor) -> Tensor:
        """Which member each uniform number means; the weights are the lengths of their intervals."""
        edges = self.log_weight.double().softmax(0).cumsum(0)
        found = torch.searchsorted(edges, uniform.detach().double().contiguous(), right=True)
        return found.clamp(max=self.members - 1)

    def _sample(self) -> dict[str, Tensor]:
        zero, one = self.log_weight.new_zeros(()), self.log_weight.new_ones(())
        # Uniform, not Categorical: its log density is 0 and it is reparameterized, as all ELBOs of Pyro ask.
        uniform = pyro.sample("_member", dist.Uniform(zero, one), infer={"is_auxiliary": True})
        member = self._choose(uniform)
        return {name: pyro.sample(name, q) for name, q in self._distributions(member).items()}

    def _distributions(self, member: Tensor) -> dict[str, Any]:
        """Site name to its distribution under a member, or under each of several."""
        layout = self.layout
        loc, scale = (layout.split(flat[member], layout.random) for flat in (self.loc, self.log_scale.exp()))
        point = layout.split(self.point[member], layout.points)
        found = self._drawn_distributions()
        for name, value in point.items():
            found[name] = dist.Delta(layout.constrain(name, value), event_dim=len(layout.shapes[name]))
        for name in loc:
            family = _family(name in layout.positive)
            found[name] = family(loc[name], scale[name]).to_event(len(layout.shapes[name]))
        return {name: found[name] for name in layout.shapes}


def _family(positive: bool) -> Any:
    return dist.LogNormal if positive else dist.Normal


def check_weights(weights: object) -> None:
    """Refuse a name that means no weights."""
    if weights not in get_args(Weights):
        raise DataError(f"`weights` must be one of {get_args(Weights)}; received {weights!r}")


def _restarted(model: BayesianModel, noise_scale: float, seed: int, member: int) -> dict[str, Site]:
    """The model's sites as a fresh initialisation of its network has them."""
    present = model.sites()
    fresh = copy.deepcopy(model)
    with seeded(seed, member, _RESTART), torch.no_grad():
        known = _reset(fresh.network)
        for name, parameter in fresh.network.named_parameters():
            if name not in present:
                continue
            if present[name].positive:
                parameter.copy_(present[name].initial)
            elif id(parameter) not in known:
                parameter.add_(noise_scale * torch.randn_like(parameter))
    return fresh.sites()


def _reset(network: nn.Module) -> set[int]:
    """Initialise afresh every module that can be; gives the ids of the parameters that were."""
    known: set[int] = set()
    for module in network.modules():
        reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        reset = reset or getattr(module, "_reset_parameters", None)  # attention's
        if callable(reset):
            reset()
            known |= {id(parameter) for parameter in module.parameters(recurse=False)}
    return known
