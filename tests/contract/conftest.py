"""What the checks of the contract go over: the rows of the tables in ``tests/helpers/contract_tables``."""

import pytest
import torch
from pyro.poutine.messenger import Messenger

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from contract_tables import GUIDES, PROBLEMS, SITE_KINDS
from contract_tables.problems import REAL, X
from substitute import Substitute

# Every guide with the problems that differ in their sites, and MeanFieldNormal with every prior ...
SITES = [
    *((guide, problem) for guide in GUIDES for problem in SITE_KINDS),
    *(("MeanFieldNormal", name) for name in PROBLEMS if name.startswith("prior") and name not in SITE_KINDS),
]
# ... and with all problems.
PAIRS = [*SITES, *(("MeanFieldNormal", name) for name in PROBLEMS if ("MeanFieldNormal", name) not in SITES)]


@pytest.fixture
def make_problem(build):
    """Make a problem of the table: its model and its targets."""

    def make(name):
        network, likelihood, y = PROBLEMS[name]
        return bl.BayesianModel(build(network), likelihood), y

    return make


@pytest.fixture(params=PROBLEMS)
def problem(request, make_problem):
    return make_problem(request.param)


def made(pair, make_problem):
    guide, name = pair
    model, y = make_problem(name)
    return model, GUIDES[guide](model), y


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, make_problem):
    """Every problem with a MeanFieldNormal, and every guide with the problems that differ in their sites."""
    return made(request.param, make_problem)


@pytest.fixture(params=SITES, ids="-".join)
def case_of_sites(request, make_problem):
    """The cases that differ in their sites, not in their likelihood or network alone."""
    return made(request.param, make_problem)


@pytest.fixture
def x():
    """Inputs of every problem, ``(12, 2)``."""
    return X


@pytest.fixture
def real():
    """Real targets, ``(12,)``."""
    return REAL


class Noted(Messenger):
    """Keeps what a program draws."""

    def __init__(self):
        super().__init__()
        self.values = {}

    def _pyro_post_sample(self, msg):
        self.values[msg["name"]] = msg["value"]


@pytest.fixture
def particles():
    """Pyro's estimate on a few particles at once, and the mean of its estimates on each of these alone."""

    def estimates(kind, model, guide, x, y, count=4):
        def elbo(handler, **options):
            def program(*args):
                with handler:
                    guide(*args)

            with seeded(0), torch.no_grad():
                return kind(**options).differentiable_loss(model, program, x, y)

        noted = Noted()
        together = elbo(noted, num_particles=count, vectorize_particles=True, max_plate_nesting=1)

        def one(value, s):
            drawn = value.dim() > 1 and value.shape[:2] == (count, 1)  # a point estimate has no axis of draws
            return value[s] if drawn else value

        single = [
            elbo(Substitute({name: one(value, s) for name, value in noted.values.items()}))
            for s in range(count)
        ]
        return together, sum(single) / count

    return estimates
