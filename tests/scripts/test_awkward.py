"""The benchmark of awkward problems: its generator, its independent loop, and its verdicts."""

import json
import math

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.model import log_likelihood as of_the_library
from bayesian_layers.noise import seeded

ROWS = [
    {"verdict": "sound"},
    {"verdict": "sound"},
    {"verdict": "silent miss"},
    {"verdict": "flagged"},
]


@pytest.fixture
def benchmark():
    import benchmark_awkward

    return benchmark_awkward


@pytest.fixture
def loop():
    import _plain_loop

    return _plain_loop


@pytest.fixture
def problems():
    from awkward import problems

    return problems


@pytest.fixture
def small(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1)).double())
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    x = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(10, 2)
    return model, bl.guides.MeanFieldNormal(model), x, x[:, 0].sin()


def test_a_problem_depends_on_seed_and_index_alone(problems):
    for index in (3, 12, 30):
        one, again, other = (problems.make_problem(seed, index) for seed in (0, 0, 1))
        assert one.name == again.name == other.name
        assert torch.equal(one.x, again.x)
        assert torch.equal(one.y, again.y)
        assert all(
            torch.equal(a, b)
            for a, b in zip(one.model.network.parameters(), again.model.network.parameters(), strict=True)
        )
        assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)


def test_all_families_and_designs_come_and_are_valid(problems):
    made = [problems.make_problem(7, index) for index in range(104)]
    names = {(each.family, each.design) for each in made}
    assert len(names) == len(problems.FAMILIES) * len(problems.DESIGNS) == 104
    likelihoods = {type(each.model.likelihood).__name__ for each in made}
    needs_more = {"Flow", "Likelihood", "Prediction"}  # a flow of its own; not likelihoods
    assert likelihoods == set(bl.likelihoods.__all__) - needs_more
    assert {1, 2} & {len(each.y) for each in made}
    assert max(len(each.y) for each in made) > 300
    for each in made:
        with seeded(0):
            f = each.model(each.x, each.y)  # refuses shapes that do not belong together
        each.model.likelihood.check_values(each.y, f.shape[1:])
        assert torch.isfinite(each.x).all()


def test_designs_are_what_their_names_promise(problems):
    index = {name: problems.DESIGNS.index(name) for name in problems.DESIGNS}
    inputs = {name: problems.make_problem(0, i).x for name, i in index.items()}
    assert torch.equal(inputs["duplicated"][:, 0], inputs["duplicated"][:, -1])
    assert (inputs["constant"][:, -2:] == inputs["constant"][0, -2:]).all()
    rare = [problems.make_problem(seed, 52).y for seed in range(20)]  # 52: Bernoulli, imbalanced by its index
    assert problems.make_problem(0, 52).name == "052-bernoulli-imbalanced"
    assert torch.cat(rare).mean() < 0.15


@pytest.mark.parametrize(
    ("converged", "gain", "stderr", "tolerance", "expected"),
    [
        (True, 0.45, 0.1, 0.06, "sound"),  # the limit is 0.1 + 0.3 + 0.06
        (True, 0.47, 0.1, 0.06, "silent miss"),
        (True, -5.0, 0.0, 0.0, "sound"),
        (True, math.nan, 0.1, 0.1, "silent miss"),
        (True, math.inf, 0.1, 0.1, "silent miss"),
        (False, 100.0, 0.1, 0.1, "flagged"),
    ],
)
def test_verdicts(benchmark, converged, gain, stderr, tolerance, expected):
    assert benchmark.verdict(converged, gain, stderr, tolerance) == expected


def test_counts_and_shares(benchmark):
    found = benchmark.counts(ROWS)
    assert (found["converged"], found["silent"], found["flagged"]) == (3, 1, 1)
    assert found["silent_share"] == pytest.approx(1 / 3)
    assert found["flagged_share"] == 0.25
    assert not benchmark.reached(ROWS)
    assert benchmark.reached(ROWS[:2])
    assert not benchmark.reached([*10 * ROWS[:2], *4 * ROWS[3:]])  # 4 of 24 are flagged


def test_steps_of_the_loop(benchmark):
    assert benchmark.loop_steps(1000, True) == 5000
    assert benchmark.loop_steps(0, True) == benchmark.FEWEST
    assert benchmark.loop_steps(9000, True) == 45000
    assert benchmark.loop_steps(9000, False) == benchmark.MOST_IF_FLAGGED


def test_numbers_on_the_command_line(benchmark, capsys):
    assert benchmark.parse_numbers("3,20-22") == [3, 20, 21, 22]
    with pytest.raises(SystemExit):
        benchmark.main(["--problems", "first"])
    assert "received first" in capsys.readouterr().err


@pytest.mark.slow
def test_the_loop_minimises_the_negative_elbo(loop, small):
    """Its gradient is that of the KL minus the mean log likelihood, also when only recorded operations run."""
    model, guide, x, y = small
    plain = loop.PlainLoop(model, guide, x, y, draws=4)
    theta = torch.cat([value.detach().flatten() for value in guide.parameters()]).repeat(2, 1)
    theta[1] += 0.1
    noise = torch.randn(2, 4, guide.noise_size, generator=torch.Generator().manual_seed(0)).double()
    recorded = plain.recorded_gradient(theta, noise)
    assert recorded != plain.gradient
    for copy, slope in zip(range(2), recorded(theta, noise), strict=True):
        with torch.no_grad():
            for name, value in plain._views(theta[copy]).items():
                guide.get_parameter(name.removeprefix("guide.")).copy_(value)
        guide.zero_grad()
        log_p = loop.log_likelihood(model, guide.transform(noise[copy]), x, y).sum(1).mean()
        (guide.weighted_kl(model) - log_p).backward()
        expected = torch.cat([value.grad.flatten() for value in guide.parameters()])
        assert torch.allclose(slope, expected, rtol=1e-9)


@pytest.mark.slow
def test_the_loop_finds_the_optimum_of_a_linear_regression(loop, build):
    layer = build(lambda: bl.Linear(1, 1, bias=False).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))
    x = torch.linspace(-1, 1, 20, dtype=torch.float64).unsqueeze(1)
    y = 0.7 * x[:, 0]
    guide = bl.guides.MeanFieldNormal(model)
    ends = loop.PlainLoop(model, guide, x, y).run((0.02, 0.05), 1200)
    precision = float(1 + (x**2).sum() / 0.25)
    best = float(x[:, 0] @ y) / 0.25 / precision
    for end in ends:
        off, ratio = float(end.loc.detach()) - best, float((2 * end.log_scale.detach()).exp()) * precision
        assert 0.5 * (off**2 * precision + ratio - 1 - math.log(ratio)) < 0.01  # nats to gain
    assert not torch.equal(ends[0].loc, guide.loc)  # the guide itself is left alone


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_measurement_is_the_elbo(loop, small, blocks):
    model, guide, x, y = small
    found = loop.elbo_replicates(model, guide, x, y, draws=6_000, seed=1, blocks=blocks)
    mean, error = loop.mean_and_error(found)
    log_p = of_the_library(model, guide.draw(20_000, seed=3), x, y).sum(1)
    expected = float(log_p.mean() - guide.weighted_kl(model).detach())
    assert abs(mean - expected) < 4 * math.hypot(error, float(log_p.std()) / 20_000**0.5)
    assert torch.equal(found, loop.elbo_replicates(model, guide, x, y, draws=6_000, seed=1, blocks=blocks))


@pytest.mark.slow
def test_a_small_run(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "FEWEST", 50)
    monkeypatch.setattr(benchmark, "FACTOR", 0)
    status = benchmark.main(["--problems", "0,2", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "awkward.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["000-bernoulli-plain", "002-normal-duplicated"]
    assert status == int(record["silent"] + record["flagged"] > 0)
    assert (tmp_path / "awkward.md").read_text() in capsys.readouterr().out
