"""The agents. All see the same rounds, and learn after the same rounds from the rewards that they have received.

Ours and Keras use the same network: the context and the action as inputs, one hidden layer of rectified units, the
reward as output. Both resume from their last weights, for the same number of steps of Adam on batches of the same
size. In ours the output layer is Bayesian, with a Normal of full covariance. The hidden layer is a point estimate with
a small learning rate: features that fit every lucky reward would leave no uncertainty to the output layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.network import call
from bayesian_layers.noise import seeded

from .rounds import Problem


@dataclass(frozen=True)
class Settings:
    """The settings of all agents; scales are standard deviations, rates are learning rates of Adam."""

    unit: float = 10.0  # rewards are divided by it
    hidden: int = 50  # units of the hidden layer
    steps: int = 100  # of Adam, each time the agents learn
    batch_size: int = 128
    learning_rate: float = 0.01  # of Keras
    hidden_rate: float = 0.0005  # of our hidden layer
    guide_rate: float = 0.02  # of our guide of the output layer
    pairs: int = 2  # antithetic pairs of draws of the weights per step, for ours
    init_scale: float = 0.3  # initial, of our guide
    output_scale: float = 1.0  # prior, of the weights of our output layer
    noise_scale: float = 0.5  # of the reward's noise, in units
    linear_scale: float = 0.3  # prior, of the weights of the linear agent
    epsilon: float = 0.05  # share of random actions of the epsilon-greedy agent


class Agent(Protocol):
    """Chooses actions, and learns from their rewards."""

    def choose(self, x: np.ndarray) -> np.ndarray:
        """Choose an action for each of some rounds."""
        ...

    def learn(self, x: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Learn from all rounds so far."""
        ...


class Uniform:
    """Takes random actions, and learns nothing."""

    def __init__(self, problem: Problem, _settings: Settings, seed: int) -> None:
        self._random, self._actions = np.random.default_rng([seed, 1]), problem.actions

    def choose(self, x: np.ndarray) -> np.ndarray:
        """See ``Agent``."""
        return self._random.integers(self._actions, size=len(x))

    def learn(self, x: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """See ``Agent``."""


class LinearThompson:
    """Thompson sampling by an exact linear regression per action, whose posterior is a Normal in closed form."""

    def __init__(self, problem: Problem, settings: Settings, seed: int) -> None:
        self._random = np.random.default_rng([seed, 2])
        self._settings = settings
        precision = np.eye(problem.columns) / settings.linear_scale**2
        self._arms: list[tuple[np.ndarray, np.ndarray]] = [
            (np.zeros(problem.columns), np.linalg.cholesky(precision))
        ] * problem.actions

    def choose(self, x: np.ndarray) -> np.ndarray:
        """See ``Agent``; each round has its own draw."""
        values = []
        for mean, root in self._arms:
            noise = self._random.standard_normal((x.shape[1], len(x)))
            weights = mean[:, None] + np.linalg.solve(root.T, noise)
            values.append((x * weights.T).sum(axis=1))
        return np.argmax(values, axis=0)

    def learn(self, x: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """See ``Agent``."""
        noise, prior = self._settings.noise_scale**2, self._settings.linear_scale**2
        for action in range(len(self._arms)):
            rows = x[actions == action].astype(np.float64)
            precision = rows.T @ rows / noise + np.eye(x.shape[1]) / prior
            mean = np.linalg.solve(
                precision, rows.T @ (rewards[actions == action] / self._settings.unit) / noise
            )
            self._arms[action] = mean, np.linalg.cholesky(precision)


class BayesianThompson:
    """Thompson sampling by functions of the posterior; each round has its own function."""

    def __init__(self, problem: Problem, settings: Settings, seed: int) -> None:
        with seeded(seed, 3):
            network = nn.Sequential(
                nn.Linear(problem.inputs, settings.hidden),
                nn.ReLU(),
                bl.Linear(settings.hidden, 1, prior=bl.priors.Normal(scale=settings.output_scale)),
            )
        self._model = bl.BayesianModel(network, bl.likelihoods.Normal(settings.noise_scale))
        self._guide = bl.guides.FullRankNormal(self._model, init_scale=settings.init_scale)
        self._posterior = bl.Posterior.from_guide(self._model, self._guide)
        self._priors = self._guide.flat_priors(self._model)
        others = [each for each in self._guide.parameters() if each is not self._guide.point]
        self._optimizer = torch.optim.Adam([
            {"params": others, "lr": settings.guide_rate},
            {"params": [self._guide.point], "lr": settings.hidden_rate},
        ])  # fmt: skip
        self._problem, self._settings, self._seed, self._times = problem, settings, seed, 0

    def choose(self, x: np.ndarray) -> np.ndarray:
        """See ``Agent``."""
        functions = self._posterior.functions(len(x), seed=self._next_seed())
        f = functions(torch.from_numpy(self._problem.each_action(x))).reshape(len(x), len(x), -1)
        return f.diagonal(dim1=0, dim2=1).argmax(dim=0).numpy()  # round i by function i

    def learn(self, x: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """See ``Agent``."""
        inputs = torch.from_numpy(self._problem.with_action(x, actions))
        targets = torch.from_numpy((rewards / self._settings.unit).astype(np.float32))
        size = min(self._settings.batch_size, len(x))
        # A call of `bl.fit` each time would spend most of its time on the convergence check; here the optimizer takes
        # few steps, and keeps its moments from one time to the next, as Keras' optimizer does.
        with seeded(self._next_seed()):
            for _ in range(self._settings.steps):
                rows = torch.randperm(len(x))[:size]
                self._optimizer.zero_grad()
                self._neg_elbo(inputs[rows], targets[rows], len(x)).backward()
                self._optimizer.step()
        self._posterior = bl.Posterior.from_guide(self._model, self._guide)

    def _neg_elbo(self, x: torch.Tensor, y: torch.Tensor, num_data: int) -> torch.Tensor:
        """Estimate KL - E_q[log p(y | x, w)] for all rows from a batch."""
        noise = torch.randn(self._settings.pairs, self._guide.noise_size)
        weights = self._guide.transform(torch.cat([noise, -noise]))
        f = call(self._model.network, weights, x).squeeze(-1)
        log_p = torch.distributions.Normal(f, self._settings.noise_scale, validate_args=False).log_prob(y)
        return self._guide.kl_to(self._priors) - num_data / len(x) * log_p.sum(dim=-1).mean()

    def _next_seed(self) -> int:
        self._times += 1
        return self._seed * 1_000_000 + self._times


class KerasGreedy:
    """The Keras network; takes the action with the largest predicted reward."""

    epsilon = 0.0

    def __init__(self, problem: Problem, settings: Settings, seed: int) -> None:
        import keras

        keras.utils.set_random_seed(seed)
        self._network: Any = keras.Sequential([
            keras.Input((problem.inputs,)),
            keras.layers.Dense(settings.hidden, activation="relu"),
            keras.layers.Dense(1),
        ])  # fmt: skip
        optimizer = keras.optimizers.Adam(learning_rate=settings.learning_rate)
        self._network.compile(optimizer=optimizer, loss="mse", jit_compile=False)
        self._problem, self._settings = problem, settings
        self._random = np.random.default_rng([seed, 4])

    def choose(self, x: np.ndarray) -> np.ndarray:
        """See ``Agent``."""
        with torch.no_grad():
            value = self._network(torch.from_numpy(self._problem.each_action(x))).cpu().numpy()
        best = value.reshape(len(x), -1).argmax(axis=1)
        explore = self._random.random(len(x)) < self.epsilon
        return np.where(explore, self._random.integers(self._problem.actions, size=len(x)), best)

    def learn(self, x: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """See ``Agent``."""
        y = (rewards / self._settings.unit).astype(np.float32)
        size = min(self._settings.batch_size, len(x))
        epochs = -(-self._settings.steps // -(-len(x) // size))  # at least as many steps as ours
        self._network.fit(self._problem.with_action(x, actions), y, batch_size=size, epochs=epochs, verbose=0)


class KerasEpsilonGreedy(KerasGreedy):
    """The Keras network, with some random actions."""

    def __init__(self, problem: Problem, settings: Settings, seed: int) -> None:
        super().__init__(problem, settings, seed)
        self.epsilon = settings.epsilon


AGENTS = {
    "thompson": BayesianThompson,
    "greedy": KerasGreedy,
    "epsilon": KerasEpsilonGreedy,
    "linear": LinearThompson,
    "uniform": Uniform,
}
NAMES = {
    "thompson": "Thompson, our functions",
    "greedy": "greedy, Keras",
    "epsilon": "epsilon-greedy, Keras",
    "linear": "Thompson, exact linear",
    "uniform": "uniform",
}
