import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import saving, streams
from bayesian_layers.errors import DataError, FitWarning, StorageError
from bayesian_layers.fitting import trainer
from bayesian_layers.fitting.checkpoints import fingerprint
from bayesian_layers.fitting.checkpoints.fingerprint import digest
from bayesian_layers.fitting.evaluation import Evaluation
from bayesian_layers.fitting.stepping import step
from bayesian_layers.fitting.trainer import TrainingState

pytestmark = pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")

X, Y = bl.datasets.parabola(50)
STEPS = 24


class StopError(Exception):
    """Raised by a callback, which stops a fit at a chosen step as a kill would."""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fit"


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def quick(model, folder=None, x=X, y=Y, every=0.0, **options):
    checkpoint = None if folder is None else bl.Checkpoint(folder, every=every)
    options = {"max_steps": STEPS, "progress": False, "checkpoint": checkpoint, **options}
    return bl.fit(model, x, y, **options)


def stop_at(step):
    def callback(progress):
        if progress.step >= step:
            raise StopError

    return callback


def killed(model, folder, step, **options):
    with pytest.raises(StopError):
        quick(model, folder, callbacks=[stop_at(step)], **options)


def assert_same(one, other):
    pairs = zip(
        one.posterior.source.state_dict().items(), other.posterior.source.state_dict().items(), strict=True
    )
    for (name, a), (again, b) in pairs:
        assert name == again
        assert torch.equal(a, b), name
    for name in ("history", "log_weights", "validation"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    for name in (
        "elbo",
        "elbo_stderr",
        "rows_seen",
        "total_weight",
        "objective",
        "gap",
        "converged",
        "steps",
        "step_mode",
        "estimator",
    ):
        assert repr(getattr(one, name)) == repr(getattr(other, name)), name  # NaN is NaN


@pytest.mark.parametrize(
    "options",
    [
        {"compile": "eager"},
        {"compile": "captured"},
        {"compile": "captured", "batch_size": 16},  # 16, 16, 16 and 2 rows
        {"compile": "eager", "batch_size": 16, "estimator": "flipout"},
        {"validation": (X[:5], Y[:5]), "kl_weight": 0.5},
    ],
)
@pytest.mark.parametrize("steps", [(3, 10, 17)])
def test_a_resumed_fit_equals_an_uninterrupted_one(model, folder, options, steps):
    for last in steps:
        killed(model, folder, last, **options)
    assert_same(quick(model, folder, **options), quick(model, **options))


def test_dropout_draws_the_same_after_a_stop(build, folder):
    """Capturing a step draws from torch's generator too, and happens at another step after a stop."""
    network = build(lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), nn.Dropout(0.3), bl.Linear(4, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    killed(model, folder, 10)
    assert_same(quick(model, folder), quick(model))


def test_streams_resume_in_their_order(model, folder):
    stream = streams.arrays(X.numpy(), Y.numpy(), batch_size=16, seed=3)
    killed(model, folder, 10, x=stream, y=None)
    assert_same(quick(model, folder, x=stream, y=None), quick(model, x=stream, y=None))


def test_resuming_with_a_foreign_source_warns_about_its_order(model, folder):
    pairs = [(X[:30], Y[:30]), (X[30:], Y[30:])]
    killed(model, folder, 10, x=pairs, y=None)
    with pytest.warns(FitWarning, match="whose order cannot be restored"):
        result = quick(model, folder, x=pairs, y=None)
    assert any("cannot be restored" in text for text in result.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("stage_end", [16, 24])  # of the first stage, and of all
def test_killed_between_a_last_step_and_its_evaluation(model, folder, monkeypatch, stage_end):
    whole = quick(model)
    evaluate = trainer.Trainer.evaluate

    def dies(self):
        if self.state.step == stage_end:
            raise StopError
        evaluate(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "evaluate", dies)
        with pytest.raises(StopError):
            quick(model, folder)
    seen = []
    result = quick(model, folder, callbacks=[seen.append])
    assert_same(result, whole)
    assert len(seen) == STEPS - stage_end


def test_a_finished_fit_returns_at_once(model, folder):
    guide, again = bl.guides.MeanFieldNormal(model), bl.guides.MeanFieldNormal(model)
    first, seen = quick(model, folder, guide=guide), []
    second = quick(model, folder, guide=again, callbacks=[seen.append])
    assert seen == []
    assert_same(first, second)
    assert torch.equal(guide.loc, again.loc)
    assert second.seconds == pytest.approx(first.seconds, abs=1.0)


def test_a_fit_that_a_callback_ended_is_finished(model, folder):
    first, seen = quick(model, folder, callbacks=[lambda progress: progress.step == 9]), []
    assert first.steps == 9
    assert_same(first, quick(model, folder, callbacks=[seen.append]))
    assert seen == []


def test_a_slower_schedule_is_kept(model, folder, monkeypatch):
    run, calls = step.Step.run, []

    def diverges(self, state, inputs, batch):
        losses = run(self, state, inputs, batch)
        calls.append(0)
        return [math.nan] if len(calls) == 4 else losses

    with monkeypatch.context() as patch:
        patch.setattr(step.Step, "run", diverges)
        with pytest.warns(FitWarning, match="restarted"):
            whole = quick(model)
    with monkeypatch.context() as patch:
        calls.clear()
        patch.setattr(step.Step, "run", diverges)
        seen = []

        def callback(progress):
            seen.append(progress.step)
            if seen[-1] == 10:
                raise StopError

        with pytest.raises(StopError):
            quick(model, folder, callbacks=[callback])
    assert seen == [1, 2, 3, *range(1, 11)]
    with pytest.warns(FitWarning, match="restarted"):
        result = quick(model, folder)
    assert_same(result, whole)


KILLS = """
    import os, random, signal, sys, time, warnings
    from pathlib import Path
    import numpy as np, torch
    import bayesian_layers as bl
    from bayesian_layers.noise import seeded
    from torch import nn

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    x, y = bl.datasets.parabola(50)

    def run(mode, folder, name, checkpoint):
        with seeded(0):
            network = nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1))
        model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
        guide = bl.guides.MeanFieldNormal(model)
        options = dict(guide=guide, batch_size=16, max_steps=40, compile=mode, progress=False)
        result = bl.fit(model, x, y, checkpoint=checkpoint, **options)
        arrays = {key: value.numpy() for key, value in guide.state_dict().items()}
        np.savez(folder / name, history=result.history, elbo=result.elbo, **arrays)

    def child(mode, folder, name, checkpoint):
        pid = os.fork()
        if pid == 0:
            try:
                run(mode, folder, name, checkpoint)
            finally:
                os._exit(0 if (folder / f"{name}.npz").exists() else 1)
        return pid

    def struck(mode, folder, kills):
        folder.mkdir()
        assert os.waitpid(child(mode, folder, "whole", None), 0)[1] == 0
        checkpoint = bl.Checkpoint(folder / "checkpoint", every=0.0)
        start = time.perf_counter()
        assert os.waitpid(child(mode, folder, "trial", bl.Checkpoint(folder / "other", every=0.0)), 0)[1] == 0
        length = time.perf_counter() - start
        moments, struck = random.Random(1), 0
        for _ in range(kills):
            pid = child(mode, folder, "resumed", checkpoint)
            time.sleep(moments.uniform(0.2, 0.6) * length)
            os.kill(pid, signal.SIGKILL)
            struck += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert os.waitpid(child(mode, folder, "resumed", checkpoint), 0)[1] == 0
        return struck

    folder = Path(sys.argv[1])
    print(struck("captured", folder / "captured", 3), struck("eager", folder / "eager", 2))
"""


def in_a_process(script, *words):
    here = Path(bl.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_kill_minus_nine(tmp_path):
    done = in_a_process(KILLS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(int(struck) >= 1 for struck in done.stdout.split()), "no fit was killed"
    for folder in (tmp_path / "captured", tmp_path / "eager"):
        with np.load(folder / "whole.npz") as whole, np.load(folder / "resumed.npz") as resumed:
            assert set(whole) == set(resumed)
            for name in whole:
                assert np.array_equal(whole[name], resumed[name]), name
        leftovers = [path.name for path in folder.iterdir() if path.name.endswith((".partial", ".previous"))]
        assert leftovers == []


def test_a_write_that_was_killed_between_its_renames(model, folder):
    killed(model, folder, 10)
    folder.rename(folder.with_name(f".{folder.name}.previous"))
    seen = []
    assert_same(quick(model, folder, callbacks=[seen.append]), quick(model))
    assert seen[0].step == 10


ALTERED = {
    "seed": ("seed 0 there, 1 here", {"seed": 1}),
    "steps": ("max_steps 24 there, 30 here", {"max_steps": 30}),
    "rate": ("learning_rate None there, 0.1 here", {"learning_rate": 0.1}),
    "mode": ("compile None there, 'eager' here", {"compile": "eager"}),
    "x": ("another x", {"x": X + 1}),
    "y": ("another y", {"y": 1 - Y}),
    "weight": ("another sample_weight", {"sample_weight": torch.ones(50)}),
}


@pytest.mark.parametrize("what", ALTERED)
def test_other_data_and_settings_are_refused(model, folder, what):
    killed(model, folder, 5)
    words, options = ALTERED[what]
    with pytest.raises(StorageError, match=f"{words}.*choose another folder"):
        quick(model, folder, **options)


def test_another_model_is_refused(model, folder, build):
    killed(model, folder, 5)
    prior = bl.priors.Normal(scale=2.0)
    others = {
        "another network": build(lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1)), seed=1),
        "another network.": build(lambda: nn.Sequential(bl.Linear(2, 4), nn.ReLU(), bl.Linear(4, 1))),
        "another priors": build(
            lambda: nn.Sequential(bl.Linear(2, 4, prior=prior), nn.Tanh(), bl.Linear(4, 1))
        ),
    }
    for words, network in others.items():
        with pytest.raises(StorageError, match=words):
            quick(bl.BayesianModel(network, bl.likelihoods.Bernoulli()), folder)
    with pytest.raises(StorageError, match="another start of the guide"):
        quick(model, folder, guide=bl.guides.MeanFieldNormal(model, init_scale=0.3))
    with pytest.raises(StorageError, match="another guide"):
        quick(model, folder, guide=bl.guides.LowRankNormal(model, rank=2))


def test_another_version_is_refused(model, folder, monkeypatch):
    killed(model, folder, 5)
    now = fingerprint.versions()
    monkeypatch.setattr(fingerprint, "versions", lambda: {**now, "torch": "1.0"})
    with pytest.raises(StorageError, match=r"torch .* there, 1.0 here.*install these versions"):
        quick(model, folder)


class Scaled(nn.Module):
    factor = 1.0

    def __init__(self):
        super().__init__()
        self.layer, self.dropout, self.calls = bl.Linear(2, 1), nn.Dropout(0.5), 0

    def forward(self, x):
        self.calls += 1  # a forward pass may write to the network
        return self.factor * self.dropout(self.layer(x))


class OwnNormal(bl.likelihoods.Normal):
    pass


EDITS = {
    "forward": (Scaled, "forward", lambda self, x: 2 * self.layer(x)),
    "class attribute": (Scaled, "factor", 1.01),
    "likelihood": (
        OwnNormal,
        "distribution",
        lambda _, f, **__: bl.likelihoods.Normal(0.9).distribution(f, output_axes=1),
    ),
    "prior": (bl.priors.Normal, "unconstrained", lambda _, like, __: (like * 0, like * 0 + 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", EDITS)
def test_edited_code_is_refused(build, folder, monkeypatch, what):
    """Hashes cover values, not code; dropout is random, and must not look like an edit."""
    model = bl.BayesianModel(build(Scaled), OwnNormal(1.0))
    killed(model, folder, 5, y=X[:, 0])
    with monkeypatch.context() as patch:
        patch.setattr(*EDITS[what])
        with pytest.raises(
            StorageError, match=r"compute other values on the same data.*choose another folder"
        ):
            quick(model, folder, y=X[:, 0])
    quick(model, folder, y=X[:, 0])


@pytest.mark.parametrize("name", ["arrays.safetensors", "checkpoint.json", "manifest.json"])
def test_damage_is_refused_and_nothing_is_overwritten(model, folder, name):
    killed(model, folder, 5)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    seen = []
    with pytest.raises(StorageError, match=r"cannot resume from.*remove the folder or choose another"):
        quick(model, folder, callbacks=[seen.append])
    assert seen == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"step": 7},
        {"step": -1},
        {"step": True},
        {"threads": 0},
        {"threads": 60_000},
        {"values": [0]},
        {"mode": "fast"},
        {"evaluations": 0, "finished": True},
        {"evaluated_at": 99},
        {"batches": {"epoch": 0}},
        {"batches": {"epoch": "0", "num_data": 50, "batch_rows": 50}},
        {"schedule": {}},
        {
            "schedule": {
                "particles": 16,
                "max_steps": 24,
                "learning_rate": -1.0,
                "first_steps": 16,
                "later_steps": 8,
            }
        },
        {"restarts": 0},
        {"more": 0},
    ],
)
def test_forged_checkpoints_are_refused(model, folder, changes):
    killed(model, folder, 5)
    stored = saving.read_folder(folder)
    arrays = stored.load_arrays(stored.header)
    saving.write_folder(folder, arrays, {"checkpoint": {**stored.documents["checkpoint"], **changes}})
    with pytest.raises(StorageError, match="cannot resume from"):
        quick(model, folder)


def test_a_finished_fit_with_parameters_that_are_not_finite_is_refused(model, folder):
    quick(model, folder)
    stored = saving.read_folder(folder)
    arrays = stored.load_arrays(stored.header)
    arrays["theta"].view(torch.float32)[3] = math.nan
    saving.write_folder(folder, arrays, {"checkpoint": stored.documents["checkpoint"]})
    with pytest.raises(StorageError, match=r"cannot resume from .*its parameters must be finite"):
        quick(model, folder)


LOCKED = """
    import sys, warnings
    import bayesian_layers as bl
    from bayesian_layers.noise import seeded
    from torch import nn

    warnings.simplefilter("ignore")
    with seeded(0):
        network = nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())

    def callback(progress):
        if progress.step == 5:
            print("fitting", flush=True)
            sys.stdin.read()

    checkpoint = bl.Checkpoint(sys.argv[1], every=0.0)
    x, y = bl.datasets.parabola(50)
    bl.fit(model, x, y, max_steps=24, progress=False, checkpoint=checkpoint, callbacks=[callback])
"""


@pytest.mark.slow
def test_a_folder_is_used_by_one_fit_at_a_time(model, folder):
    here = Path(bl.__file__).parent.parent
    command = [sys.executable, "-c", textwrap.dedent(LOCKED), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"fitting\n"
            with pytest.raises(StorageError, match="is in use by another fit: wait until that one ends, or"):
                quick(model, folder)
        finally:
            other.kill()  # which releases the lock
    seen = []
    assert_same(quick(model, folder, callbacks=[seen.append]), quick(model))
    assert seen[0].step == 5
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_threads_do_not_share_a_folder(model, folder):
    refused = []

    def second(progress):
        if progress.step == 5:
            with pytest.raises(StorageError, match="in use by another fit"):
                quick(model, folder)
            refused.append(progress.step)

    assert_same(quick(model, folder, callbacks=[second]), quick(model))
    assert refused == [5]


def test_a_folder_of_something_else_is_refused(model, folder):
    result = quick(model)
    result.posterior.save(folder)
    with pytest.raises(StorageError, match="holds something else"):
        quick(model, folder)
    foreign = folder.with_name("foreign")
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(StorageError):
        quick(model, foreign)
    assert (foreign / "notes.txt").read_text() == "mine"


SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]


@pytest.mark.parametrize(("number", "kind"), SIGNALS)
def test_a_signal_saves_and_stops_the_fit(model, folder, number, kind, capsys):
    before = [signal.getsignal(each) for each, _ in SIGNALS]
    guide = bl.guides.MeanFieldNormal(model)

    def callback(progress):
        if progress.step == 7:
            os.kill(os.getpid(), number)

    with pytest.raises(
        kind, match=r"stopped at step 7; saved in .*fit; run the same call again to resume"
    ) as raised:
        quick(model, folder, every=math.inf, guide=guide, callbacks=[callback])
    assert [signal.getsignal(each) for each, _ in SIGNALS] == before
    if number == signal.SIGTERM:
        assert raised.value.code == 143
        assert "stopped at step 7" in capsys.readouterr().err
    seen = []
    assert_same(
        quick(model, folder, guide=guide, callbacks=[seen.append]), quick(model)
    )  # the very same guide
    assert seen[0].step == 8
    assert [signal.getsignal(each) for each, _ in SIGNALS] == before


@pytest.mark.slow
def test_a_signal_to_a_process(tmp_path):
    """Each signal to a fork of its own: as it ends, and what it writes to stderr."""
    script = """
        import os, signal, sys, torch
        import bayesian_layers as bl
        x, y = bl.datasets.parabola(50)
        torch.manual_seed(0)
        model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())

        def ended(number, folder):
            def callback(progress):
                if progress.step == 5:
                    os.kill(os.getpid(), number)
            pid = os.fork()
            if pid == 0:
                bl.fit(model, x, y, max_steps=10, progress=False, checkpoint=folder, callbacks=[callback])
                sys.exit("the signal did not end the fit")
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        for number, folder in ((signal.SIGTERM, sys.argv[1]), (signal.SIGINT, sys.argv[2])):
            print(ended(number, folder), flush=True)
    """
    folders = {signal.SIGTERM: tmp_path / "term", signal.SIGINT: tmp_path / "int"}
    done = in_a_process(script, *folders.values())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["143", str(-signal.SIGINT)]
    assert done.stderr.count("stopped at step 5; saved in") == 2
    for folder in folders.values():
        assert json.loads((folder / "checkpoint.json").read_text())["step"] == 5


def test_a_second_signal_has_its_usual_effect(model, folder):
    def callback(progress):
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as raised:
        quick(model, folder, every=math.inf, callbacks=[callback])
    assert "saved" not in str(raised.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signals_stay_ignored(model, folder):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = quick(model, folder, callbacks=[lambda _: os.kill(os.getpid(), signal.SIGINT)])
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert result.steps == STEPS


def test_in_another_thread_there_are_no_handlers(model, folder):
    results = []
    thread = threading.Thread(target=lambda: results.append(quick(model, folder)))
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert_same(results[0], quick(model))


def test_a_full_disk_loses_nothing(model, folder, monkeypatch):
    write, now = saving.write_folder, []

    def full(path, arrays, documents):
        now.append(documents["checkpoint"]["step"])
        if 5 <= now[-1] < 15:
            raise StorageError("No space left on device")
        write(path, arrays, documents)

    monkeypatch.setattr(saving, "write_folder", full)
    killed(model, folder, 13)
    assert json.loads((folder / "checkpoint.json").read_text())["step"] == 4
    with pytest.warns(FitWarning, match="10 checkpoints could not be written.*No space left"):
        result = quick(model, folder)
    assert sum("checkpoints could not" in text for text in result.warnings) == 1
    assert_same(result, quick(model))
    assert json.loads((folder / "checkpoint.json").read_text())["finished"]
    shutil.rmtree(folder)


def test_a_signal_on_a_full_disk_reports_what_is_lost(model, folder, monkeypatch):
    write = saving.write_folder

    def full(path, arrays, documents):
        if documents["checkpoint"]["step"]:
            raise StorageError("No space left on device")
        write(path, arrays, documents)

    monkeypatch.setattr(saving, "write_folder", full)
    with pytest.raises(KeyboardInterrupt, match=r"could not be saved .*No space left"):
        quick(model, folder, callbacks=[lambda _: os.kill(os.getpid(), signal.SIGINT)])


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(model, tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(StorageError):
        quick(model, tmp_path / "file" / "fit", callbacks=[seen.append])
    assert seen == []


def test_the_thread_count_of_the_first_start_is_used_and_restored(model, folder, monkeypatch):
    monkeypatch.setattr("bayesian_layers.fitting.threads.SMALL_STEP", 0)
    killed(model, folder, 5)
    stored = saving.read_folder(folder)
    arrays = stored.load_arrays(stored.header)
    saving.write_folder(folder, arrays, {"checkpoint": {**stored.documents["checkpoint"], "threads": 2}})
    seen = []
    quick(model, folder, callbacks=[lambda _: seen.append(torch.get_num_threads())])
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1


def test_a_closed_form_needs_no_checkpoint(folder, build):
    x = torch.linspace(-1, 1, 40).reshape(20, 2)
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal(0.5))
    result = quick(model, folder, x=x, y=x.sum(1))
    assert result.converged
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((3,), TypeError),
        (("",), TypeError),
        (("f", -1.0), DataError),
        (("f", math.nan), DataError),
        (("f", True), DataError),
    ],
)
def test_a_checkpoint_checks_itself(arguments, kind):
    with pytest.raises(kind):
        bl.Checkpoint(*arguments)


def test_fit_takes_a_folder_or_a_checkpoint(model, folder):
    quick(model, checkpoint=str(folder), max_steps=3)
    assert (folder / "checkpoint.json").exists()
    with pytest.raises(TypeError, match=r"a folder or a bl.Checkpoint"):
        quick(model, checkpoint=3)


def test_all_of_the_state_is_stored():
    """A field that is added must be added to the checkpoint too."""
    names = {each.name for each in dataclasses.fields(TrainingState)}
    assert names == {"optimizer", "step", "history", "evaluations", "evaluated_at", "validation"}
    draws, rows = {"log_likelihoods", "kl", "weighted_kl"}, {"rows", "row_stderr", "total_weight"}
    assert {each.name for each in dataclasses.fields(Evaluation)} == draws | rows | {"marginals"}


class Own:
    def __init__(self, value):
        self.value = value


def test_digests_depend_on_values_and_not_on_the_process():
    values = [
        None, 0, 0.0, False, "0", 1.0, [1.0], (1.0,), {"a": 1.0}, {"b": 1.0}, ["ab"], ["a", "b"], ("a", ("b",)),
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2).double(), torch.zeros(2, dtype=torch.int32),
        Own(1), Own(2), math.sin, math.cos, nn.Dropout(0.1), nn.Dropout(0.2), nn.Dropout(0.1).eval(), nn.Tanh(),
        torch.zeros(0), torch.tensor(0.0), bl.likelihoods.Normal(1.0), bl.likelihoods.Normal(2.0),
    ]  # fmt: skip
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digest(Own([1, torch.ones(3)])) == digest(Own([1, torch.ones(3)]))
    loop = Own(None)
    loop.value = loop
    assert digest(loop) == digest(loop)
