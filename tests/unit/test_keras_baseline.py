"""Starting Keras takes some 8 s, so the fits here are few, small, shared, and two at a time."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import json
import os
import signal
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bayesian_layers.baselines import KerasFit, fit_keras
from bayesian_layers.baselines import keras as baseline
from bayesian_layers.baselines._recipe import split
from bayesian_layers.errors import BaselineError, DataError, MissingExtraError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 2))
BINARY = (X[:, 0] ** 2 < X[:, 1]).astype(int)
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
REAL = 3.0 * X[:, 0] + 0.1 * RNG.normal(size=60)
NEW = RNG.uniform(-1, 1, (7, 2))
POLLUTION = {"KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "1"}

# What a user writes, with nothing of ours in it.
PLAIN = """
import sys, numpy as np, keras
data = np.load(sys.argv[1])
for seed in (0, 1):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.layers.Dense(10, activation="tanh"), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer="adam", loss="binary_crossentropy")
    history = model.fit(data["x"], data["y"], epochs=4, verbose=0).history["loss"]
    np.savez(f"{sys.argv[2]}/{seed}.npz", loss=history, p=model.predict(data["new"], verbose=0)[:, 0])
"""


def run_plain(folder: Path) -> list[dict[str, np.ndarray]]:
    np.savez(
        folder / "data.npz", x=X.astype("float32"), y=BINARY.astype("float32"), new=NEW.astype("float32")
    )
    command = [sys.executable, "-c", PLAIN, str(folder / "data.npz"), str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(folder / "home")}
    del environment["KERAS_MAX_EPOCHS"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return [dict(np.load(folder / f"{seed}.npz")) for seed in (0, 1)]


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """The fits, made in an environment that would spoil them; and what they left behind in it."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        for name, value in POLLUTION.items():
            patch.setenv(name, value)
        temporary = tmp_path_factory.mktemp("temporary")
        patch.setattr(tempfile, "tempdir", str(temporary))
        before, modules = dict(os.environ), set(sys.modules)
        jobs = {
            "binary": pool.submit(fit_keras, X, BINARY, {"new": NEW, "x": X}, task="binary", epochs=4),
            "plain": pool.submit(run_plain, tmp_path_factory.mktemp("plain")),
            "multiclass": pool.submit(
                fit_keras, X, CLASSES, {"new": NEW}, task="multiclass", hidden=(), epochs=2, num_classes=4
            ),
            "regression": pool.submit(
                fit_keras,
                X,
                REAL,
                {"new": NEW},
                task="regression",
                hidden=(8, np.int64(8)),
                activation="relu",
                epochs=60,
                learning_rate=0.3,  # so large that the loss goes up and down and patience runs out
                batch_size=8,
                validation_fraction=0.25,
                patience=3,
            ),
        }
        done = {name: job.result() for name, job in jobs.items()}
        done |= {"environment": (before, dict(os.environ)), "left": list(temporary.iterdir())}
        yield done | {"imported": set(sys.modules) - modules}


@pytest.mark.slow
def test_binary(fits):
    fit = fits["binary"]
    assert isinstance(fit, KerasFit)
    assert set(fit.history) == {"loss"}
    assert fit.history["loss"].shape == (4,)
    assert fit.epochs == 4  # KERAS_MAX_EPOCHS=1 of the caller's environment does not count
    assert fit.noise_scale is None
    assert fit.seconds > 0
    assert set(fit.versions) == {"python", "keras", "torch", "numpy"}
    assert fit.predictions["new"].shape == (7,)
    assert fit.predictions["x"].shape == (60,)
    assert fit.predictions["new"].dtype == np.float32
    assert np.all((fit.predictions["x"] > 0) & (fit.predictions["x"] < 1))


def test_it_equals_plain_keras_and_depends_on_the_seed(fits):
    fit, (same, other) = fits["binary"], fits["plain"]
    np.testing.assert_array_equal(fit.history["loss"], same["loss"])
    # predicted in one batch instead of one of 32: float32 sums may be ordered otherwise
    np.testing.assert_allclose(fit.predictions["new"], same["p"], rtol=1e-6)
    assert np.abs(fit.predictions["new"] - other["p"]).max() > 1e-3


def test_multiclass(fits):
    fit = fits["multiclass"]
    assert fit.predictions["new"].shape == (7, 4)  # the fourth class is known, if not seen
    np.testing.assert_allclose(fit.predictions["new"].sum(axis=1), 1.0, atol=1e-6)
    assert fit.noise_scale is None


def test_regression_stops_early_and_takes_the_best_weights(fits):
    fit = fits["regression"]
    assert fit.predictions["new"].shape == (7,)
    assert set(fit.history) == {"loss", "val_loss"}
    assert len(fit.history["val_loss"]) == len(fit.history["loss"]) == fit.epochs < 60
    best = fit.history["val_loss"].min()
    assert fit.history["val_loss"][-1] > 1.05 * best  # else the next line would show nothing
    # 15 validation rows: the noise scale is the root of the best epoch's mean squared error
    assert fit.noise_scale**2 == pytest.approx(best, rel=1e-5)


def test_nothing_is_left_behind_in_the_caller(fits):
    before, after = fits["environment"]
    assert before == after
    assert after["KERAS_BACKEND"] == "jax"
    assert fits["left"] == []
    assert not [name for name in fits["imported"] if name.split(".")[0] == "keras"]


def test_results_are_frozen(fits):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fits["binary"].epochs = 3


def test_doctests_run():
    result = doctest.testmod(baseline)
    assert result.attempted >= 2
    assert result.failed == 0


def test_the_worker_loads_nothing_of_the_package():
    tree = ast.parse(baseline._WORKER.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) == {
        "numpy",
        "keras",
        "torch",
    }


# --- refused before any process starts ----------------------------------------------------------------


@pytest.fixture
def no_process(monkeypatch):
    def start(*args, **kwargs):
        pytest.fail("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)


def call(**changes):
    arguments = {"x": X, "y": BINARY, "predict": {"new": NEW}, "task": "binary", "epochs": 1} | changes
    return fit_keras(arguments.pop("x"), arguments.pop("y"), arguments.pop("predict"), **arguments)


@pytest.mark.parametrize(
    ("changes", "name", "expected", "received"),
    [
        ({"x": X[:, 0]}, "x", ("N >= 1", "D >= 1"), (60,)),
        ({"x": X[:0]}, "x", ("N >= 1", "D >= 1"), (0, 2)),
        ({"x": X[:, :0]}, "x", ("N >= 1", "D >= 1"), (60, 0)),
        ({"y": BINARY[:, None]}, "y", (60,), (60, 1)),
        ({"y": np.stack([BINARY] * 4, 1)}, "y", (60,), (60, 4)),
        ({"y": BINARY[:59]}, "y", (60,), (59,)),
        ({"predict": {"a": NEW, "b": NEW[0]}}, "predict['b']", ("N >= 1", 2), (2,)),
        ({"predict": {"a": NEW[:, :1]}}, "predict['a']", ("N >= 1", 2), (7, 1)),
    ],
)
def test_wrong_shapes(no_process, changes, name, expected, received):
    with pytest.raises(ShapeError) as caught:
        call(**changes)
    assert (caught.value.name, caught.value.expected, caught.value.received) == (name, expected, received)


def with_first(array, value):
    changed = np.array(array, dtype=float)
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": with_first(X, np.nan)}, "`x` must hold no NaN; received 1 of 120"),
        ({"x": with_first(X, np.inf)}, "`x` must be finite in float32"),
        ({"x": with_first(X, 1e300)}, "`x` must be finite in float32; 1 of its 120 values are not"),
        ({"x": X.astype(str)}, "`x` must hold real numbers"),
        ({"y": with_first(BINARY, np.nan)}, "`y` must hold no NaN"),
        ({"y": with_first(BINARY, 2)}, "labels 0 to 1; received 2"),
        ({"y": with_first(BINARY, -1)}, "labels 0 to 1; received -1"),
        ({"y": with_first(BINARY, 0.5)}, "received 0.5"),
        ({"y": np.array(["a", "b"] * 30)}, "`y` must hold real numbers"),
        ({"y": CLASSES - 1, "task": "multiclass"}, "labels 0 to 1; received -1"),
        ({"y": CLASSES, "task": "multiclass", "num_classes": 2}, "labels 0 to 1; received 2"),
        ({"y": with_first(CLASSES, 1e6), "task": "multiclass"}, "received labels up to 1e\\+06 in 60 rows"),
        ({"y": with_first(CLASSES, np.inf), "task": "multiclass"}, "received labels up to inf"),
        (
            {"y": CLASSES, "task": "multiclass", "num_classes": 1},
            "`num_classes` must be an integer, 2 or more",
        ),
        ({"y": with_first(REAL, np.inf), "task": "regression"}, "`y` must be finite"),
        ({"predict": {"new": with_first(NEW, np.nan)}}, r"`predict\['new'\]` must hold no NaN"),
        ({"predict": NEW}, "`predict` must map names to inputs; received ndarray"),
        ({"task": "classification"}, "`task` must be one of 'binary', 'multiclass', 'regression'"),
        ({"hidden": 10}, r"`hidden` must be a tuple of widths; received 10. Write \(10,\)"),
        ({"hidden": (10, 0)}, "`hidden` must be an integer, 1 or more; received 0"),
        ({"activation": np.tanh}, "`activation` must be a name"),
        ({"epochs": 0}, "`epochs` must be an integer, 1 or more"),
        ({"epochs": 2.5}, "`epochs` must be an integer, 1 or more; received 2.5"),
        ({"batch_size": -1}, "`batch_size`"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a finite number above 0"),
        ({"learning_rate": np.nan}, "`learning_rate` must be a finite number above 0"),
        ({"seed": -1}, "`seed` must be an integer from 0 to 4294967295"),
        ({"validation_fraction": 1.0}, "`validation_fraction` must be 0 or more and below 1"),
        ({"x": X[:1], "y": BINARY[:1], "validation_fraction": 0.5}, "must leave rows for training"),
        ({"patience": 3}, "`patience` needs validation rows"),
        ({"patience": 0, "validation_fraction": 0.2}, "`patience` must be an integer, 1 or more"),
    ],
)
def test_wrong_values(no_process, changes, message):
    with pytest.raises(DataError, match=message):
        call(**changes)


# A blocked import, and a stand-in without a spec, on which find_spec raises ValueError.
@pytest.mark.parametrize("module", [None, types.ModuleType("keras")])
def test_keras_not_installed(no_process, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "keras", module)
    with pytest.raises(MissingExtraError, match=r"bayesian-layers\[keras\]") as caught:
        call()
    assert (caught.value.package, caught.value.extra) == ("keras", "keras")


def test_validation_rows_are_chosen_by_the_seed():
    kept, held = split(100, 0.25, 3)
    assert len(held) == 25
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(100))
    np.testing.assert_array_equal(split(100, 0.25, 3)[1], held)
    assert not np.array_equal(split(100, 0.25, 4)[1], held)
    np.testing.assert_array_equal(split(5, 0.0, 3)[0], np.arange(5))
    assert len(split(5, 0.01, 3)[1]) == 1


# --- a process that fails -----------------------------------------------------------------------------


def use_worker(monkeypatch, folder: Path, source: str) -> None:
    worker = folder / "worker.py"
    worker.write_text(source)
    monkeypatch.setattr(baseline, "_WORKER", worker)


def test_a_failing_process_is_reported(monkeypatch, tmp_path, capfd):
    use_worker(monkeypatch, tmp_path, "print('noise')\nraise SystemError('the cat sat on it')")
    with pytest.raises(BaselineError, match=r"ended with 1\.(.|\n)*SystemError: the cat sat on it"):
        call()
    assert capfd.readouterr().out == ""


def test_a_process_without_a_result_is_reported(monkeypatch, tmp_path):
    use_worker(monkeypatch, tmp_path, "")
    with pytest.raises(BaselineError, match=r"ended with 0\.(.|\n)*The worker's output was:\nnothing"):
        call()


def test_what_the_worker_is_given(monkeypatch, tmp_path):
    record = "import os, sys, pathlib, shutil; folder = pathlib.Path(sys.argv[1])\n"
    record += f"shutil.copytree(folder, {str(tmp_path / 'copy')!r})\n"
    record += "sys.exit(os.environ['KERAS_BACKEND'] + ' ' + str(sys.flags.safe_path))"
    use_worker(monkeypatch, tmp_path, record)
    with pytest.raises(BaselineError, match="torch True"):
        call(y=REAL, task="regression", seed=7)
    recipe = json.loads((tmp_path / "copy" / "recipe.json").read_text())
    assert (recipe["task"], recipe["hidden"], recipe["seed"], recipe["num_outputs"]) == (
        "regression",
        [10],
        7,
        1,
    )
    with np.load(tmp_path / "copy" / "inputs.npz", allow_pickle=False) as stored:
        assert set(stored) == {"x", "y", "predict_0", "predict_residual"}
        np.testing.assert_array_equal(stored["x"], X.astype(np.float32))
        assert stored["x"].dtype == stored["y"].dtype == np.float32


def test_divergence_is_reported(monkeypatch, tmp_path):
    source = (
        "import sys, pathlib, numpy as np; folder = pathlib.Path(sys.argv[1])\n"
        "np.savez(folder / 'outputs.npz', history_loss=[1, 2, np.nan], predict_0=np.full((7, 1), 0.5))\n"
        "(folder / 'result.json').write_text('{}')"
    )
    use_worker(monkeypatch, tmp_path, source)
    with pytest.raises(BaselineError, match=r"for 2 of 3 epochs only\. Standardize"):
        call()


def test_an_interrupt_kills_the_process(monkeypatch, tmp_path):
    use_worker(monkeypatch, tmp_path, "import time; time.sleep(60)")
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0])

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert started[0].returncode == -signal.SIGKILL
