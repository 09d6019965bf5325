"""The benchmarks: medians, tables, the message for a missing peer, and small runs."""

import argparse
import functools
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal

import bayesian_layers as bl

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def no_peers(monkeypatch, tmp_path):
    """The folder of the peers is empty."""
    from peers import environments

    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    monkeypatch.setattr(environments, "say", lambda _text: None)


@pytest.fixture
def speed():
    import benchmark_speed

    return benchmark_speed


@pytest.fixture
def quality():
    import benchmark_quality

    return benchmark_quality


def fits(program, recipe, seconds, elbos, **more):
    return [
        {
            "program": program,
            "recipe": recipe,
            "seed": i,
            "seconds": s,
            "cpu_seconds": s,
            "elbo": e,
            **more,
        }
        for i, (s, e) in enumerate(zip(seconds, elbos, strict=True))
    ]


def test_the_best_recipe_is_the_fastest_that_reaches_the_optimum(speed):
    rows = [
        *fits("pyro", "quick", [1.0, 1.0, 1.0], [-66.0, -64.8, -65.0]),
        *fits("pyro", "good", [3.0, 4.0, 9.0], [-64.8, -64.9, -70.0]),
        *fits("pyro", "slow", [8.0, 8.0, 8.0], [-64.7, -64.7, -64.7]),
        *fits("pyro", "broken", [0.1], [-64.7], error="no"),
    ]
    assert speed.best_recipe(rows, "pyro") == "good"
    assert speed.best_recipe(rows[:3], "pyro") is None
    assert speed.best_recipe(rows, "numpyro") is None


def test_the_article_table(speed):
    ours = fits("ours", None, [1.0, 2.0, 3.0], [-64.74, -64.82, -64.95], converged=True)
    ours[2]["converged"] = False
    peer = fits("pyro", "good", [10.0, 12.0, 20.0], [-64.8, -64.8, -64.8])
    missing = [{"program": "tfp", "recipe": "a", "seed": 0, "error": "it is not installed"}]
    loop = [{"program": "pyro, one particle", "recipe": "30000 steps", "seed": 0, "seconds": 100.0}]
    table = speed.article_table([*ours, *peer, *missing, *loop])
    assert table[2] == (
        "| ours | default | 2.00 (1.00 to 3.00) | 1.0 | 2.00 | -64.82 | -64.95 | 2 of 3 | 3 of 3 |"
    )
    assert table[3].startswith("| pyro | good, **best** | 12.00 (10.00 to 20.00) | 6.0 |")
    assert table[4].startswith("| tfp | a | not available: it is not installed |")
    assert "| 100.0 |" in table[5]  # relative to our own fit of the same seed, 1.00 s
    assert "not measured" in table[5]
    assert len({line.count("|") for line in table}) == 1  # as many cells in each row


def test_the_step_tables(speed):
    rows = [
        {"program": "ours", "mode": None, "particles": 1, "ms": ms, "step_mode": "captured"}
        for ms in (0.3, 0.4, 9.0)
    ]
    table = speed.step_table([*rows, {"program": "pyro", "mode": None, "particles": 1, "error": "gone"}])
    assert table[2:] == [
        "| ours | default: captured | 1 | 0.400 |",
        "| pyro |  | 1 | not available: gone |",
    ]
    both = [{"program": "blitz", "mode": None, "ms": 6.0, "deterministic_ms": 2.0, "ratio": 3.0}]
    assert speed.mnist_table(both)[2] == "| blitz |  | 6.00 | 2.00 | 3.00 |"


def test_peers_on_the_command_line(speed):
    assert speed.parse_peers("none") == []
    assert speed.parse_peers("pyro,tfp") == ["pyro", "tfp"]
    assert len(speed.parse_peers("all")) == 6
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: pymc"):
        speed.parse_peers("pyro,pymc")


def test_a_missing_peer_is_reported_and_is_not_a_failure():
    from peers import calling, environments

    assert environments.why_unavailable("pyro") == "it is not installed (scripts/setup_peers pyro)"
    answer = calling.call("pyro", {"task": "article", "seed": 0, "threads": 1})
    assert answer == {"error": "it is not installed (scripts/setup_peers pyro)"}
    environments.FOLDER.mkdir()
    environments._write_state("pyro", "No matching distribution")
    assert environments.why_unavailable("pyro") == "No matching distribution"
    environments.interpreter("tfp").parent.mkdir(parents=True)
    environments.interpreter("tfp").touch()  # without a state: an installation was interrupted
    assert environments.why_unavailable("tfp") == environments.INTERRUPTED


def test_an_installation_that_fails_is_remembered_and_tried_again(monkeypatch):
    from peers import environments

    reasons = iter(["no such package", None])
    monkeypatch.setattr(environments, "_install", lambda _name: next(reasons))
    monkeypatch.setattr(environments, "_installed", lambda _name: {"torchbnn": "1.2"})
    assert environments.set_up("torchbnn") == "no such package"
    environments.interpreter("torchbnn").parent.mkdir(parents=True)
    environments.interpreter("torchbnn").touch()
    assert environments.set_up("torchbnn") == "no such package"  # of the same inputs, without trying
    assert environments.set_up("torchbnn", again=True) is None
    environments.interpreter("torchbnn").parent.mkdir(parents=True)
    environments.interpreter("torchbnn").touch()
    assert environments.set_up("torchbnn", again=True) is None  # there already
    assert environments.versions("torchbnn") == {"torchbnn": "1.2"}
    assert (environments.FOLDER / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("WARNING: old\nERROR: No match for x\nERROR: more\n", "No match for x"),
        ("Traceback\n  File\nImportError: no y\n\n", "ImportError: no y"),
        ("", "it ended without a word"),
        ("z" * 300, "z" * 197 + "..."),
    ],
)
def test_the_reason_is_one_line(output, reason):
    from peers.environments import reason_of

    assert reason_of(output) == reason


def test_a_worker_answers_whatever_its_library_prints():
    code = "from protocol import serve; serve({'speak': lambda r: print('noise') or {'twice': 2 * r['x']}})"

    def ask(request):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=True,
            cwd=SCRIPTS / "peers",
        )
        return json.loads(done.stdout)

    assert ask({"task": "speak", "x": 3}) == {"twice": 6}
    assert ask({"task": "speak"}) == {"error": "KeyError: 'x'"}
    assert ask({"task": "dance"}) == {"error": "KeyError: 'dance'"}


def test_the_referee_agrees_with_torch_distributions():
    """A second implementation: densities of single draws instead of formulas."""
    from peers.referee import elbo

    x, y = bl.datasets.parabola()
    shapes = {"0.weight": (10, 2), "0.bias": (10,), "2.weight": (1, 10), "2.bias": (1,)}
    generator = torch.Generator().manual_seed(0)
    loc = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    scale = {name: 0.1 + 0.4 * torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    value, error = elbo(
        {name: each.tolist() for name, each in loc.items()},
        {name: each.tolist() for name, each in scale.items()},
        x,
        y,
        draws=4000,
    )
    noise = {name: torch.randn(4000, *shape, generator=generator) for name, shape in shapes.items()}
    w = {name: loc[name] + scale[name] * noise[name] for name in shapes}
    total = torch.zeros(4000)
    for name, draws in w.items():
        q = Normal(loc[name], scale[name])
        total += (Normal(0.0, 1.0).log_prob(draws) - q.log_prob(draws)).flatten(1).sum(1)
    hidden = torch.tanh(torch.einsum("nd,shd->snh", x, w["0.weight"]) + w["0.bias"][:, None])
    f = torch.einsum("snh,sh->sn", hidden, w["2.weight"][:, 0]) + w["2.bias"]
    total += torch.distributions.Bernoulli(logits=f).log_prob(y).sum(1)
    standard_error = math.hypot(error, float(total.std()) / 4000**0.5)
    assert abs(value - float(total.mean())) < 4 * standard_error
    assert standard_error < 2.0  # nats: the comparison means something


@pytest.mark.slow
def test_the_speed_benchmark_without_peers(speed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "elbo", functools.partial(speed.elbo, draws=2000))
    folder = tmp_path / "out"
    options = ["--peers", "pyro", "--parts", "article", "--seeds", "1", "--max-steps", "30"]
    speed.main([*options, "--output", str(folder)])
    record = json.loads((folder / "speed.json").read_text())
    ours = [row for row in record["article"] if row["program"] == "ours"]
    assert len(ours) == 1
    assert ours[0].get("error") is None
    assert ours[0]["steps"] <= 30
    assert -300 < ours[0]["elbo"] < -60
    assert record["not_available"] == {"pyro": "it is not installed (scripts/setup_peers pyro)"}
    text = (folder / "speed.md").read_text()
    assert "not available: it is not installed" in text
    assert str(tmp_path) not in text + json.dumps(record)  # no folders of the machine
    assert text in capsys.readouterr().out


@pytest.fixture
def uci(tmp_path):
    """Sets of the four names: y = 10 x + noise of deviation 2, and a column that is constant."""
    folder = tmp_path / "uci"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("concrete", "energy", "power-plant", "wine-quality-red"):
        x = np.stack([generator.normal(size=67), np.full(67, 7.0)], axis=1)
        y = 10 * x[:, 0] + 2 * generator.normal(size=67)
        mask = np.zeros((3, 67), dtype=bool)
        mask[:, :20] = True
        np.savez(folder / f"{name}.npz", x=x, y=y, test_mask=np.packbits(mask, axis=1))
    return folder


@pytest.mark.slow
def test_the_quality_benchmark_goes_on_where_it_ended(quality, uci, tmp_path, capsys):
    folder = tmp_path / "out"
    words = ["--data", str(uci), "--sets", "energy", "--max-steps", "80", "--output", str(folder)]
    quality.main([*words, "--splits", "1"])
    lines = folder / "quality.jsonl"
    first = lines.read_text()
    row = json.loads(first)
    assert 1.0 < row["rmse"] < 6.0  # 2 is the noise, 10 the deviation of y
    assert -4.0 < row["log_likelihood"] < -1.8  # -2.11 is that of the true line
    lines.write_text(first + '{"set": "energy", "spl')  # killed while writing
    quality.main([*words, "--splits", "2", "--prior", "normal:1.0"])
    quality.main([*words, "--splits", "1"])  # all is there already
    good = quality.read_results(lines, {}, row["code"])
    assert [(each["prior"], each["split"]) for each in good] == [
        ("default", 0),
        ("normal:1.0", 0),
        ("normal:1.0", 1),
    ]
    record = json.loads((folder / "quality.json").read_text())
    assert record["results"] == good
    text = (folder / "quality.md").read_text()
    assert "| published: Pyro SVI | -3.29 | -1.58 | -2.92 | -0.97 |" in text
    assert str(tmp_path) not in text + json.dumps(record)
    assert quality.read_results(lines, {"energy": "other data"}, row["code"]) == []
    assert quality.read_results(lines, {}, "other code") == []
    capsys.readouterr()


def test_the_log_likelihood_is_in_the_units_of_y(quality):
    """Two draws, noise 0.5, y divided by 4: the mean density of N(4 f, 2) at 4 y."""
    f, y = torch.tensor([[0.1, 0.2], [0.4, -1.0]], dtype=torch.float64), torch.tensor([0.0, 0.5])
    log_p = Normal(f, 0.5).log_prob(y)
    density = Normal(4 * f, 2.0).log_prob(4 * y).exp().mean(0)
    assert quality.test_log_likelihood(log_p, 4.0) == pytest.approx(float(density.log().mean()), abs=1e-9)


def test_standardizing(quality):
    train, test = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[5.0, 6.0]])
    (a, b), mean, deviation = quality.standardize(train, test)
    assert a.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert b.tolist() == [[3.0, 1.0]]
    assert (mean.tolist(), deviation.tolist()) == ([2.0, 5.0], [1.0, 1.0])


def test_means_and_verdicts(quality):
    mean, error = quality.mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == (2.0, pytest.approx(1 / 3**0.5))
    assert quality.verdict(-1.2, 0.01, -1.3) == "better"
    assert quality.verdict(-1.35, 0.1, -1.3) == "level"
    assert quality.verdict(-1.45, 0.1, -1.3) == "worse"


def test_priors_on_the_command_line(quality):
    assert quality.parse_prior("default") is None
    assert quality.parse_prior("normal:2.5") == bl.priors.Normal(scale=2.5)
    for text in ("normal:", "normal:-1", "horseshoe"):
        with pytest.raises(argparse.ArgumentTypeError, match=text):
            quality.parse_prior(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("refine", ["--seeds", "1", "--seconds", "0.2", "--chains", "10", "--threads", "1"]),
        ("regressions", ["--regressions", "2"]),
    ],
)
def test_a_small_run_writes_both_files(name, options, tmp_path, capsys):
    importlib.import_module(f"benchmark_{name}").main([*options, "--output", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert record["rows"]
    assert record["command"].startswith(f"scripts/benchmark_{name}.py ")
    assert record["versions"]["torch"]
    assert (tmp_path / "out" / f"{name}.md").read_text() in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("benchmark_*.py")))
def test_every_benchmark_can_be_imported(name):
    """Everything that the scripts import from the library exists."""
    assert importlib.import_module(name).__doc__
