"""What only a fresh process can show: what importing changes, and what a whole session leaves behind."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch


def run(code, **environment):
    """Warnings are errors in the child, so that none goes unseen."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", **environment}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_importing_and_a_whole_session_leave_the_process_as_it_was(tmp_path):
    """A session with Pyro's validation as it comes, and one with validation switched off."""
    run(f"""
        import signal, sys, warnings
        import torch, pyro
        def state():
            return (torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
                    list(warnings.filters), signal.getsignal(signal.SIGINT), pyro.settings.get(),
                    dict(pyro.get_param_store().items()), torch.is_grad_enabled())
        before = state()
        import bayesian_layers as bl
        assert state() == before
        extra = {{"keras", "sklearn", "matplotlib", "arviz", "pandas", "jinja2", "torch._dynamo", "sympy",
                  "scipy.special", "scipy.stats"}}
        assert not extra & sys.modules.keys(), extra & sys.modules.keys()

        from torch import nn
        x, y = bl.datasets.parabola()
        network = nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1))
        model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
        def session(folder):
            before = state(), network.training
            model.prior_predict(x, num_draws=5)
            posterior = bl.fit(model, x, y, progress=False).posterior
            posterior.predict(x, num_draws=5)
            posterior.function(1)(x)
            posterior.save(folder)
            bl.load(folder).predict(x, num_draws=5)
            bl.metrics.uniformity([0.2, 0.4, 0.9])
            assert (state(), network.training) == before
            assert "torch._dynamo" not in sys.modules
        session({str(tmp_path / "p")!r})
        pyro.enable_validation(False)
        session({str(tmp_path / "p")!r})
    """)


@pytest.mark.slow
def test_a_fit_is_the_same_in_another_process():
    code = """
        import torch
        from torch import nn
        import bayesian_layers as bl
        torch.manual_seed(3)
        torch.set_num_threads(1)
        model = bl.BayesianModel(nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1)), bl.likelihoods.Bernoulli())
        result = bl.fit(model, *bl.datasets.parabola(), progress=False)
        printed = result.elbo.hex(), result.posterior.predict(torch.ones(2, 2)).mean.tolist()
        print(*printed)
    """
    here = {}
    with torch.random.fork_rng():
        exec(textwrap.dedent(code), here)
    assert run(code).split(maxsplit=1) == [here["printed"][0], f"{here['printed'][1]}\n"]


@pytest.mark.slow
def test_a_compiled_fit_is_the_captured_one_and_leaves_the_process_as_it_was():
    run(
        """
        import signal, sys, warnings
        import torch
        from torch import nn
        import bayesian_layers as bl
        from bayesian_layers.fitting import setup
        assert setup.STEPS_PER_CALL == 10
        setup.STEPS_PER_CALL = 3  # the compiler takes a time that grows with the steps of a call
        torch.manual_seed(0)
        x, y = bl.datasets.parabola(50)
        model = bl.BayesianModel(nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1)), bl.likelihoods.Bernoulli())
        def state():
            return (torch.get_rng_state().tolist(), torch.get_num_threads(), list(warnings.filters),
                    signal.getsignal(signal.SIGINT), torch.is_grad_enabled())
        before = state()
        warnings.simplefilter("ignore", bl.errors.ConvergenceWarning)
        modes = "captured", "compiled"
        results = {mode: bl.fit(model, x, y, max_steps=30, compile=mode, progress=False) for mode in modes}
        del warnings.filters[0]
        assert state() == before
        assert {mode: result.step_mode for mode, result in results.items()} == {mode: mode for mode in results}
        one, two = (torch.tensor(result.history) for result in results.values())
        assert torch.allclose(one, two, rtol=1e-4), (one - two).abs().max()
    """,
        TORCHINDUCTOR_COMPILE_THREADS="1",
    )
