"""Predictive moments of any number of rows, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ShapeError, SiteError
from ..likelihoods import Likelihood, Prediction
from ..network import Inputs, check_inputs, num_rows
from . import table_files
from .inputs import Rows, count, gathered
from .plan import MAX_MEMORY
from .running import RunningMoments
from .sweep import Task, begin, quietly, sweep
from .weights import Weights

_FIELDS = tuple(field.name for field in fields(Prediction))


def predict(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: Weights,
    x: Rows,
    max_memory: int = MAX_MEMORY,
) -> Prediction:
    r"""Compute predictive moments, for chunks of rows and draws; all rows see the same draws.

    .. math::
        E[y] = \frac1S \sum_s m_s(x), \quad
        \operatorname{Var}[y] = \frac1S \sum_s (m_s(x) - E[y])^2 + \frac1S \sum_s v_s(x)

    with :math:`m_s` and :math:`v_s` the mean and variance that the likelihood gives under draw s.

    Args:
        network: The network; in ``eval`` mode meanwhile.
        likelihood: What its outputs mean.
        weights: Draws of all latent sites, at least 2.
        x: Inputs; see :data:`Rows`.
        max_memory: Bytes to stay within, beside the inputs and what is returned.

    Returns:
        Moments with the shape of ``y``.

    References:
        Kendall & Gal (2017), arXiv 1703.04977.
    """
    parts = predictions(network, likelihood, weights, x, max_memory)
    if (total := count(x)) is not None:
        return _filled(parts, total)
    columns = zip(*([getattr(part, name) for name in _FIELDS] for part in parts), strict=True)
    return Prediction(*map(torch.cat, columns))


def predictions(
    network: nn.Module, likelihood: Likelihood | None, weights: Weights, x: Rows, max_memory: int = MAX_MEMORY
) -> Iterator[Prediction]:
    """Compute predictive moments as the rows come; see :func:`predict`."""
    likelihood = checked(likelihood)
    if weights.num_draws < 2:
        raise ShapeError("draws", ("S >= 2",), (weights.num_draws,), "Take more draws.")
    task = begin(network, weights, x, max_memory)
    for block in gathered(task.blocks, task.plan.block):
        with quietly(network):
            yield _moments(network, likelihood, check_inputs(block, network), task)


def write(path: str | os.PathLike[str], parts: Iterator[Prediction]) -> int:
    """Write predictions to a file as they come."""
    written = 0
    with table_files.writing(path) as write_rows:
        for part in parts:
            write_rows(_columns(part))
            written += len(part.mean)
    return written


def checked(likelihood: Likelihood | None) -> Likelihood:
    """Refuse a model without a likelihood."""
    if likelihood is None:
        raise SiteError("the model has no likelihood, so no targets to predict; give one to BayesianModel")
    return likelihood


def latents_of(likelihood: Likelihood, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick the draws of the likelihood's own sites."""
    like = next(iter(draws.values()))
    return {name: draws[name].unsqueeze(1) for name in likelihood.sites(like.new_empty(()))}


def _moments(network: nn.Module, likelihood: Likelihood, block: Inputs, task: Task) -> Prediction:
    running: RunningMoments | None = None
    for chunk in sweep(network, task.weights, block, task.plan):
        axes = chunk.f.dim() - 2
        likelihood.check_shapes(chunk.f[0], None, output_axes=axes)
        mean, variance = likelihood.moments(chunk.f, output_axes=axes, **latents_of(likelihood, chunk.draws))
        running = running or RunningMoments(mean, num_rows(block))
        running.add(chunk.rows, chunk.start, mean, variance.expand_as(mean))
    assert running is not None  # there are rows and draws
    return running.prediction(task.weights.num_draws)


def _filled(parts: Iterator[Prediction], total: int) -> Prediction:
    """Put blocks into arrays of their full size: nothing is held twice."""
    whole: list[Tensor] = []
    start = 0
    for part in parts:
        moments = [getattr(part, name) for name in _FIELDS]
        whole = whole or [each.new_empty(total, *each.shape[1:]) for each in moments]
        for target, each in zip(whole, moments, strict=True):
            target[start : start + len(each)] = each
        start += len(part.mean)
    return Prediction(*whole)


def _columns(part: Prediction) -> dict[str, np.ndarray]:
    moments = {name: getattr(part, name).cpu() for name in (*_FIELDS, "std")}
    moments = {name: each if each.dtype == torch.float64 else each.float() for name, each in moments.items()}
    return {
        "_".join([name, *map(str, index)]): each[:, *index].numpy()
        for name, each in moments.items()
        for index in np.ndindex(*each.shape[1:])
    }
