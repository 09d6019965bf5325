import dataclasses
import math

import pyro
import pytest
import torch
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers.draw_sources import DrawSource
from bayesian_layers.guides import FullRankNormal, LowRankNormal, MeanFieldNormal
from bayesian_layers.noise import seeded

JOINT = (LowRankNormal, FullRankNormal)
GUIDES = (MeanFieldNormal, *JOINT)


@pytest.fixture
def model(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Tanh(), bl.Linear(3, 1)).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))


def test_parameters_exist_from_construction_at_the_networks_values(model):
    guide = MeanFieldNormal(model, init_scale=0.3)
    network = model.network
    random = [network[0].weight, network[2].weight, network[2].bias, torch.tensor(-1.0)]
    assert torch.equal(guide.loc, torch.cat([value.detach().reshape(-1).double() for value in random]))
    assert torch.equal(guide.point, network[0].bias.detach())
    torch.testing.assert_close(guide.log_scale, torch.full((11,), math.log(0.3), dtype=torch.float64))
    assert guide.loc.dtype == torch.float64
    assert guide.loc.data_ptr() != network[0].weight.data_ptr()


def test_sites_have_the_families_that_their_priors_call_for(model):
    guide = MeanFieldNormal(model)
    q = guide.distributions()
    assert list(q) == ["0.weight", "0.bias", "2.weight", "2.bias", "noise_scale"]
    assert {name: tuple(each.event_shape) for name, each in q.items()}["0.weight"] == (3, 2)
    names = {name: type(getattr(each, "base_dist", each)).__name__ for name, each in q.items()}
    assert names["0.weight"] == "Normal"
    assert names["0.bias"] == "Delta"
    assert type(q["noise_scale"]).__name__ == "LogNormal"


def test_transform_draws_from_the_distributions(model):
    """The two ways to draw, by noise and as a Pyro program, have one law."""
    guide = MeanFieldNormal(model, init_scale=0.4)
    draws = guide.draw(4000, seed=0)
    q = guide.distributions()
    for name in ("0.weight", "noise_scale"):
        with seeded(1):
            theirs = q[name].sample((4000,))
        ours = draws[name].reshape(4000, -1)[:, 0].numpy()
        assert stats.ks_2samp(ours, theirs.reshape(4000, -1)[:, 0].numpy()).pvalue > 1e-3
    assert torch.equal(draws["0.bias"], guide.point.detach().expand(4000, 3))


@pytest.mark.parametrize("family", GUIDES)
def test_every_entry_begins_with_the_given_deviation(model, family):
    guide = family(model, init_scale=0.3)
    unit = guide.unconstrained(torch.eye(guide.noise_size, dtype=torch.float64)) - guide.loc
    torch.testing.assert_close(
        unit.square().sum(0).sqrt(), torch.full_like(guide.loc, 0.3), rtol=1e-12, atol=0
    )


def test_sizes_of_the_joint_guides(model):
    assert LowRankNormal(model).rank == 10
    assert LowRankNormal(model, rank=3).noise_size == 11 + 3
    small = bl.BayesianModel(model.network[2], bl.likelihoods.Bernoulli())
    assert LowRankNormal(small).rank == 4
    assert FullRankNormal(model).noise_size == 11


def test_moments_are_views_of_the_normal_sites(model):
    guide = MeanFieldNormal(model, init_scale=0.3)
    moments = guide.moments()
    assert list(moments) == ["0.weight", "2.weight", "2.bias"]
    loc, scale = moments["2.weight"]
    assert loc.shape == scale.shape == (1, 3)
    assert loc.data_ptr() == guide.loc[6:].data_ptr()
    torch.testing.assert_close(scale, torch.full_like(scale, 0.3))
    (loc * scale).sum().backward()
    assert (guide.loc.grad[6:9] != 0).all()
    assert (guide.log_scale.grad[6:9] != 0).all()


@pytest.mark.parametrize("family", GUIDES)
def test_constants_gathered_once_give_the_same_kl(model, family):
    guide = family(model)
    priors = guide.flat_priors(model, 0.5)
    with torch.no_grad():
        guide.loc += 1.0
        assert torch.equal(guide.kl_to(priors), guide.weighted_kl(model, 0.5))


@pytest.mark.parametrize("family", JOINT)
def test_a_joint_kl_has_one_weight(model, family):
    guide = family(model)
    one = dict.fromkeys(guide.shapes, 0.5)
    half, whole = guide.weighted_kl(model, one).detach(), guide.weighted_kl(model).detach()
    torch.testing.assert_close(half, 0.5 * whole)
    with pytest.raises(bl.errors.SiteError, match="not a sum over sites"):
        guide.weighted_kl(model, {"0.weight": 0.5})


@pytest.mark.parametrize("family", GUIDES)
def test_kl_weights_are_checked(model, family):
    guide = family(model)
    with pytest.raises(bl.errors.SiteError, match="not latent sites"):
        guide.weighted_kl(model, {"weight": 0.5})
    with pytest.raises(bl.errors.DataError, match="weight"):
        guide.weighted_kl(model, -1.0)


def test_a_prior_without_closed_form_is_refused(model, monkeypatch):
    class Laplace:
        pass

    guide, sites = MeanFieldNormal(model), model.sites()
    sites["2.bias"] = dataclasses.replace(sites["2.bias"], prior=Laplace())
    monkeypatch.setattr(model, "sites", lambda: sites)
    with pytest.raises(
        bl.errors.SiteError, match=r"`2\.bias` must have a prior of bl\.priors; received .*Laplace"
    ):
        guide.weighted_kl(model)


def test_joint_guides_refuse_what_they_cannot_hold(model, build):
    for rank in (0, 12, 2.0, True):
        with pytest.raises(bl.errors.DataError, match="rank"):
            LowRankNormal(model, rank=rank)
    large = bl.BayesianModel(build(lambda: bl.Linear(5000, 1)), bl.likelihoods.Bernoulli())
    with pytest.raises(bl.errors.DataError, match="Use LowRankNormal"):
        FullRankNormal(large)
    points = build(lambda: bl.Linear(2, 1))
    bl.priors.set_priors(points, {"weight": None, "bias": None})
    for family in JOINT:
        with pytest.raises(bl.errors.SiteError, match="point-estimated"):
            family(bl.BayesianModel(points, bl.likelihoods.Bernoulli()))


@pytest.mark.parametrize("family", GUIDES)
def test_the_pyro_program_draws_what_transform_draws(model, family):
    """Sites of the program, drawn together: the same means and covariances as the draws by noise."""
    guide = family(model, init_scale=0.4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    with seeded(1), torch.no_grad():
        program = pyro.plate("draws", 20_000, dim=-1)(guide)
        theirs = program()
    ours = guide.draw(20_000, seed=2)
    stacked = []
    for draws in (theirs, ours):
        values = {**draws, "noise_scale": draws["noise_scale"].log()}
        stacked.append(torch.cat([values[name].reshape(20_000, -1) for name in guide.layout.random], dim=1))
    one, other = (torch.cov(each.T) for each in stacked)
    diagonal = other.diagonal()
    error = ((diagonal[:, None] * diagonal + other.square()) / 10_000).sqrt()
    assert ((one - other).abs() < 5 * error).all()
    assert ((stacked[0].mean(0) - stacked[1].mean(0)).abs() < 5 * (diagonal / 10_000).sqrt()).all()
    assert torch.equal(theirs["0.bias"].expand(20_000, 3), guide.point.detach().expand(20_000, 3))


@pytest.mark.parametrize("family", JOINT)
def test_posteriors_with_joint_guides_survive_a_file(model, family, tmp_path):
    options = {"rank": 3} if family is LowRankNormal else {}
    guide = family(model, **options)
    with torch.no_grad():
        guide.factor += 0.5
    posterior = bl.Posterior.from_guide(model, guide)
    posterior.save(tmp_path / "p")
    for network in (None, model.network):
        loaded = bl.load(tmp_path / "p", network=network)
        assert type(loaded.source) is family
        drawn, kept = loaded.sample(5), posterior.sample(5)
        assert all(torch.equal(drawn[name], kept[name]) for name in kept)
        assert loaded.source.factor.is_contiguous()


def test_stored_draws_survive_a_file_that_needs_the_network(model, tmp_path):
    stored = bl.Posterior.from_samples(model, MeanFieldNormal(model).draw(5, seed=0))
    stored.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=model.network)
    assert all(torch.equal(value, stored.sample(5)[name]) for name, value in loaded.sample(5).items())


@pytest.mark.parametrize(
    "document",
    [
        {"name": "LowRankNormal"},
        {"name": "LowRankNormal", "rank": 0},
        {"name": "LowRankNormal", "rank": 12},
        {"name": "LowRankNormal", "rank": True},
        {"name": "LowRankNormal", "rank": 2.0},
        {"name": "LowRankNormal", "rank": 2, "more": 1},
        {"name": "FullRankNormal", "rank": 2},
        {"name": "MeanFieldNormal", "rank": 2},
        {"name": "StoredDraws", "draws": True},
        {"name": "StoredDraws", "draws": 1},
        {"name": ["LowRankNormal"]},
        ["LowRankNormal"],
        None,
    ],
)
def test_a_source_that_cannot_be_is_refused(model, document):
    with pytest.raises(bl.errors.StorageError):
        DrawSource.from_spec(document, model=model)


def test_a_described_factor_takes_no_memory_before_it_is_checked(build):
    large = bl.BayesianModel(build(lambda: bl.Linear(10**6 - 1, 1)), bl.likelihoods.Bernoulli())
    guide = DrawSource.from_spec(
        {"name": "LowRankNormal", "rank": 10**6}, model=large
    )  # 4 TB, if it were made
    assert guide.factor.shape == (10**6, 10**6)


def test_flat_vectors_are_the_inverse_of_values(model):
    layout = MeanFieldNormal(model).layout
    flat, point = (torch.linspace(-2, 2, 5 * size, dtype=torch.float64).view(5, size) for size in (11, 3))
    values = layout.values(flat, point)
    torch.testing.assert_close(layout.flat(values, layout.random), flat)
    assert torch.equal(layout.flat(values, layout.points), point)
    assert layout.flat(values, ()).shape == (5, 0)


def test_mean_is_the_draw_without_noise(model):
    mean = MeanFieldNormal(model).mean()
    assert torch.equal(mean["0.weight"], model.network[0].weight)
    assert float(mean["noise_scale"]) == pytest.approx(math.exp(-1))
    assert not mean["0.weight"].requires_grad


@pytest.mark.parametrize("family", GUIDES)
def test_gradients_flow_to_every_parameter(model, family):
    guide = family(model)
    values = guide.transform(torch.ones(2, guide.noise_size, dtype=torch.float64))
    sum(value.square().sum() for value in values.values()).backward()
    for name, parameter in guide.named_parameters():
        used = torch.ones_like(parameter)
        if name == "factor" and family is FullRankNormal:
            used = used.tril(-1)
        assert torch.equal(parameter.grad != 0, used.bool())


def test_wrong_use_is_refused(model, build):
    with pytest.raises(bl.errors.DataError, match="init_scale"):
        MeanFieldNormal(model, init_scale=0.0)
    with pytest.raises(bl.errors.ShapeError, match="noise"):
        MeanFieldNormal(model).transform(torch.zeros(2, 10, dtype=torch.float64))
    frozen = build(lambda: nn.Linear(2, 1)).requires_grad_(False)
    with pytest.raises(bl.errors.SiteError, match="frozen"):
        MeanFieldNormal(bl.BayesianModel(frozen, bl.likelihoods.Bernoulli()))
    other = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    with pytest.raises(bl.errors.SiteError, match="another model"):
        MeanFieldNormal(model).check_made_for(other)


@pytest.mark.parametrize(("hidden", "widest", "scale"), [(4, 5, 0.1), (25, 25, 0.04), (300, 300, 0.02)])
def test_deviations_begin_narrower_in_wider_networks(build, hidden, widest, scale):
    network = build(lambda: nn.Sequential(bl.Linear(5, hidden), nn.ReLU(), bl.Linear(hidden, 1)))
    guide = MeanFieldNormal(bl.BayesianModel(network, bl.likelihoods.Normal(0.1)))
    assert guide.layout.max_fan_in == widest
    torch.testing.assert_close(guide.log_scale.exp(), torch.full_like(guide.loc, scale))
