"""The number of threads during a fit; torch keeps one number per thread, and one for threads that start later."""

import threading

import pytest
import torch

import bayesian_layers as bl
from bayesian_layers.fitting.threads import SMALL_STEP, current, threads, threads_of


@pytest.fixture(autouse=True)
def two():
    """The caller has two threads."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def model(build):
    return bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())


def quick(model, **settings):
    return bl.fit(model, *bl.datasets.parabola(50), max_steps=12, particles=2, progress=False, **settings)


def in_new_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(timeout=60)
    return results[0]


def test_small_steps_take_one_thread():
    assert threads_of(SMALL_STEP - 1) == 1
    assert threads_of(SMALL_STEP) == 2


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
@pytest.mark.parametrize(("small", "expected"), [(SMALL_STEP, 1), (0, 2)])
def test_a_fit_takes_one_thread_if_it_is_small(model, monkeypatch, small, expected):
    monkeypatch.setattr("bayesian_layers.fitting.threads.SMALL_STEP", small)
    seen = []
    quick(
        model,
        callbacks=[lambda _: seen.append((torch.get_num_threads(), in_new_thread(torch.get_num_threads)))],
    )
    assert set(seen) == {(expected, 2)}  # a thread that starts meanwhile has the usual number
    assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == 2


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_number_is_restored_after_a_failure(model, error):
    def fail(_):
        raise error

    with pytest.raises(error):
        quick(model, callbacks=[fail])
    assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == 2


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
def test_a_fit_gives_the_same_numbers_whatever_the_number(model, tmp_path):
    """Also one that is stopped with two threads and resumed with one."""

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(
            model,
            checkpoint=bl.Checkpoint(tmp_path / "fit", every=0.0),
            callbacks=[lambda s: s.step > 5 and stop(s)],
        )
    of_two = quick(model)
    torch.set_num_threads(1)
    for result in (quick(model), quick(model, checkpoint=tmp_path / "fit")):
        assert (result.history == of_two.history).all()
        assert (result.log_weights == of_two.log_weights).all()
    assert torch.get_num_threads() == 1


def test_each_thread_ends_with_its_number():
    """Threads begin to use torch, and enter and leave blocks, while others do."""
    turn, found = threading.Barrier(8, timeout=60), []

    def work():
        for _ in range(20):
            turn.wait()
            with threads(1):
                inside = torch.get_num_threads()
            found.append((inside, current()))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert found == [(1, 2)] * 160


def test_nothing_is_set_if_the_number_is_right(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("it was set"))
    with threads(2):
        assert torch.get_num_threads() == 2
    monkeypatch.undo()
