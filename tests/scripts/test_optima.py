"""The suite of optima: its data and models, its verdicts, the plateau of plain training, and the best-known ELBOs."""

import argparse
import json
import math

import numpy as np
import pytest
import sklearn.datasets  # noqa: F401  (its import adds filters of warnings)
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

PROBLEM = "of these data"


@pytest.fixture
def benchmark():
    import benchmark_optima

    return benchmark_optima


@pytest.fixture
def problems():
    from optima import problems

    return problems


@pytest.fixture
def search():
    from optima import search

    return search


@pytest.fixture
def summary():
    from optima import summary

    return summary


@pytest.fixture
def deterministic():
    from optima import deterministic

    return deterministic


def fit(problem, elbo, *, seconds=2.0, converged=True, **more):
    return {
        "problem": problem,
        "seed": 0,
        "rows": 1000,
        "is": PROBLEM,
        "elbo": elbo,
        "stderr": 0.1,
        "converged": converged,
        "seconds": seconds,
        "deterministic_seconds": 1.0,
        "steps": 9,
        **more,
    }


def known(**elbos):
    return {name: {"elbo": elbo, "stderr": 0.1, "problem": PROBLEM} for name, elbo in elbos.items()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "uci").mkdir()
    random = np.random.default_rng(0)
    for name in ("energy", "concrete", "power-plant", "wine-quality-red"):
        inputs = {"energy": 8, "concrete": 8, "power-plant": 4, "wine-quality-red": 11}[name]
        np.savez(
            tmp_path / "uci" / f"{name}.npz", x=3 + random.normal(size=(50, inputs)), y=random.normal(size=50)
        )
    return tmp_path


@pytest.mark.slow
def test_every_problem_can_be_fitted(problems, folder):
    assert len([name for name, problem in problems.SUITE.items() if problem.uci is None]) >= 40
    likelihoods = set()
    for problem in problems.SUITE.values():
        x, y = problem.load(folder)
        assert 50 <= len(x) == len(y) <= 50_000
        one, again, other = (problem.build(seed) for seed in (0, 0, 1))
        assert problems.described(x, y, one) == problems.described(x, y, other)
        first, second, third = (next(iter(each.network.parameters())) for each in (one, again, other))
        assert torch.equal(first, second)
        assert not torch.equal(first, third)
        with seeded(0):
            one(x[:20], y[:20])
        likelihoods.add(type(one.likelihood).__name__)
    assert likelihoods == set(bl.likelihoods.__all__) - {"Likelihood", "Prediction"}


def test_data_are_always_the_same_and_standardized(problems, folder):
    for name in ("friedman-1000", "sine", "poisson", "energy"):
        (x, y), (x_again, y_again) = (problems.SUITE[name].load(folder) for _ in range(2))
        assert torch.equal(x, x_again)
        assert torch.equal(y, y_again)
    assert x.mean(0).abs().max() < 1e-5
    assert float(y.std(correction=0)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(FileNotFoundError, match="--data FOLDER"):
        problems.SUITE["energy"].load(None)


@pytest.mark.parametrize(
    ("best", "elbo", "near"),
    [
        (-100.0, -100.9, True),  # 1 nat
        (-100.0, -101.1, False),
        (-1000.0, -1004.9, True),  # 0.5 %
        (-1000.0, -1005.1, False),
        (10.0, math.nan, False),
        (10.0, -math.inf, False),
    ],
)
def test_near_the_best(summary, best, elbo, near):
    assert summary.judged([fit("sine", elbo)], known(sine=best))[0]["near"] == near


def test_the_best_is_the_known_one_unless_a_fit_is_surely_better(summary):
    rows = [fit("a", -5.0), fit("a", -7.0), fit("b", -3.0), fit("a", math.inf), fit("a", 90.0, stderr=60.0)]
    assert summary.best_of("a", rows, known(a=-6.0)) == -5.2
    assert summary.best_of("a", rows, known(a=-5.1)) == -5.1
    assert summary.best_of("a", rows, {}) == -5.2  # two standard errors below
    other = {"a": {"elbo": -1.0, "problem": "of other data"}}
    assert summary.best_of("a", rows, other) == -5.2
    assert math.isnan(summary.best_of("c", rows, {}))


def test_figures(summary):
    rows = [
        fit("a", -10.0, seconds=3.0),
        fit("a", -11.05),  # not within 1 nat, but within 1 nat + 1e-4 nats per row
        fit("b", -50.0, converged=False),
        {"problem": "b", "seed": 1, "rows": 1000, "is": PROBLEM, "error": "diverged", "seconds": 1.0},
    ]
    rows = summary.judged(rows, known(a=-10.0, b=-10.0))
    assert [row["ratio"] for row in rows] == [3.0, 2.0, math.inf, math.inf]
    found = summary.figures(rows)
    assert (found["near"], found["silent"], found["problems"]) == (1, 1, 2)
    assert found["near_share"] == 0.25
    assert found["silent_share"] == pytest.approx(1 / 3)  # of the three that are not near
    assert found["median_ratio"] == math.inf
    assert not summary.reached(rows)
    assert summary.reached(rows[:1])


def test_lines_of_the_single_problems(summary):
    name = "energy-heteroscedastic"
    good = [fit(name, 640.0, rmse=0.05), fit(name, 635.0, rmse=0.09), fit("sine", 183.0, rmse=0.101)]
    lines = summary.summary(summary.judged(good, known(**{name: 640.0}, sine=184.0)))
    assert [line.endswith(": met.") for line in lines[3:]] == [True, True]
    for wrong in ({"rmse": 0.11}, {"stderr": 2.5}, {"elbo": 630.0}):
        rows = summary.judged([good[0], {**good[1], **wrong}], known(**{name: 640.0}))
        assert summary.heteroscedastic_line(name, rows).endswith(": not met.")
    for wrong in ({"rmse": 0.11}, {"seconds": 6.5}, {"elbo": 181.9}):
        rows = summary.judged([{**good[2], **wrong}], known(sine=184.0))
        assert summary.sine_line(rows).endswith(": not met.")
    assert summary.sine_line([]) is None


def test_an_entry_is_replaced_only_by_a_better_one(search, tmp_path):
    path = tmp_path / "best.json"
    old = {"elbo": -10.0, "stderr": 0.3, "problem": PROBLEM}
    assert search.record("sine", old, path)
    assert not search.record("sine", {**old, "elbo": -9.6, "stderr": 0.4}, path)  # the errors together: 0.5
    assert search.read(path) == {"sine": old}
    assert search.record("sine", {**old, "elbo": -9.4, "stderr": 0.4}, path)
    assert search.record("sine", {**old, "elbo": -90.0, "problem": "of other data"}, path)
    assert search.record("article", old, path)
    assert list(search.read(path)) == ["article", "sine"]
    assert search.read(tmp_path / "none.json") == {}


def test_runs_are_ranked_by_what_is_sure(search):
    runs = [search.Run(None, None, "mode", i, 0, elbo, stderr) for i, (elbo, stderr) in enumerate(
        [(-10.0, 0.1), (5.0, 20.0), (math.nan, 1.0), (math.inf, math.nan)])]  # fmt: skip
    assert [run.rank for run in runs] == [-10.2, -35.0, -math.inf, -math.inf]


def test_recorded_entries_are_of_problems_of_the_suite(search, problems):
    for name, entry in search.read().items():
        assert math.isfinite(entry["elbo"])
        assert entry["stderr"] >= 0
        assert {"method", "start", "starts", "steps", "date", "versions"} <= set(entry)
        if problems.SUITE[name].uci is None:
            problem = problems.SUITE[name]
            assert entry["problem"] == problems.described(*problem.load(None), problem.build(0))


def test_plateau(deterministic):
    falling = [2.0**-i for i in range(deterministic.FEWEST)]
    assert deterministic.on_plateau(falling)
    assert not deterministic.on_plateau(falling[:-1])  # too few
    assert not deterministic.on_plateau([1000.0 - i for i in range(500)])
    assert deterministic.reached([10.0, 5.0, 1.12, 1.05, 1.0]) == 3  # 1 % of 9 is 0.09
    assert deterministic.reached([1.0, 2.0]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rows", [40, 3000])
def test_plain_training_learns_weights_and_noise(deterministic, build, rows):
    x = torch.linspace(-1, 1, rows).unsqueeze(1)
    y = 2 * x[:, 0] + 0.1 * torch.linspace(0, 300, rows).sin()  # the standard deviation of the noise is 0.07
    model = bl.BayesianModel(build(lambda: bl.Linear(1, 1)), bl.likelihoods.Normal("learned"))
    plateau = deterministic.run(model, x, y, seed=0)
    assert plateau.loss == pytest.approx(math.log(0.07) + 0.5 * math.log(2 * math.pi) + 0.5, abs=0.15)
    assert plateau.loss < plateau.first_loss
    assert plateau.epochs > 0
    assert plateau.seconds > 0


def test_the_mode_of_a_linear_regression(deterministic, build):
    layer = build(lambda: bl.Linear(1, 1, bias=False))
    x = torch.linspace(-1, 1, 10).unsqueeze(1)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(1.0))
    found = deterministic.trained(model, x, 5 * x[:, 0], 1500, seed=0)
    square = float((x**2).sum())
    assert float(found.network.weight.detach()) == pytest.approx(5 * square / (square + 1), rel=1e-3)
    assert not torch.equal(found.network.weight, layer.weight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", range(5))
def test_every_kind_of_start_gives_a_guide_with_all_parameters_free(search, build, kind):
    x, y = bl.datasets.parabola(40)
    network = build(lambda: nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    name = list(search.STARTS)[kind]
    guide = search.STARTS[name](model, x, y, 0)
    guide.check_made_for(model)
    assert all(parameter.requires_grad for parameter in guide.parameters())
    if name.endswith("0.2"):
        assert torch.allclose(guide.log_scale.exp(), torch.tensor(0.2))
    if not name.startswith("default"):
        assert not torch.equal(guide.loc, bl.guides.MeanFieldNormal(model).loc)


@pytest.mark.slow
def test_a_small_run_and_a_search(benchmark, search, folder, monkeypatch, capsys):
    monkeypatch.setattr(search, "WORK", 2**24)
    monkeypatch.setattr(search, "MEANS_STEPS", 100)
    out = folder / "out"
    words = ["--problems", "article,energy", "--seeds", "1", "--output", str(out)]
    benchmark.main(words)
    first = (out / "optima.jsonl").read_text()
    benchmark.main(words)  # everything is there already
    assert (out / "optima.jsonl").read_text() == first
    record = json.loads((out / "optima.json").read_text())
    assert [row["problem"] for row in record["rows"]] == ["article"]
    assert record["left_out"] == ["energy: the UCI set energy needs --data FOLDER"]
    assert -68 < record["rows"][0]["elbo"] < -64
    page = (out / "optima.md").read_text()
    assert page in capsys.readouterr().out
    (x, y), said = bl.datasets.parabola(), []
    entry = search.search("article", benchmark.SUITE["article"], (x, y), 1, 400, said.append)
    assert -90 < entry["elbo"] < -64
    assert entry["start"] == "standard deviations fixed at 0.05, seed 1000"
    assert len(said) == 2  # the start and the end


def test_names_on_the_command_line(benchmark):
    assert benchmark.parse_names("sine,article") == ["sine", "article"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: cosine"):
        benchmark.parse_names("sine,cosine")
