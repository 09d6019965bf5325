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
from ..table_files import new_table
from .chunks import Job, chunks, forward_only, start
from .inputs import Rows, count, gathered
from .online_moments import OnlineMoments
from .plan import MAX_MEMORY
from .weight_draws import WeightDraws

_FIELDS = tuple(field.name for field in fields(Prediction))


def predict(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: WeightDraws,
    x: Rows,
    max_memory: int = MAX_MEMORY,
) -> Prediction:
    """Compute predictive moments; see ``Posterior.predict``."""
    parts = predict_blocks(network, likelihood, weights, x, max_memory)
    if (total := count(x)) is not None:
        return _filled(parts, total)
    columns = zip(*([getattr(part, name) for name in _FIELDS] for part in parts), strict=True)
    return Prediction(*map(torch.cat, columns))


def predict_blocks(
    network: nn.Module,
    likelihood: Likelihood | None,
    weights: WeightDraws,
    x: Rows,
    max_memory: int = MAX_MEMORY,
) -> Iterator[Prediction]:
    """Yield predictive moments as the rows come; all rows see the same draws."""
    likelihood = check_likelihood(likelihood)
    if weights.num_draws < 2:
        raise ShapeError("draws", ("S >= 2",), (weights.num_draws,), "Take more draws.")
    job = start(network, weights, x, max_memory)
    for block in gathered(job.blocks, job.plan.block):
        with forward_only(network):
            moments = _moments(network, likelihood, check_inputs(block, network), job)
        yield moments  # the caller's code runs in the caller's state


def check_likelihood(likelihood: Likelihood | None) -> Likelihood:
    """Return the likelihood of a model; raise SiteError if it has none."""
    if likelihood is None:
        raise SiteError(
            "the model has no likelihood to predict with; pass one: BayesianModel(network, likelihood)"
        )
    return likelihood


def latents_of(likelihood: Likelihood, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the draws of the likelihood's own sites, with an axis for the rows."""
    like = next(iter(draws.values()))
    return {name: draws[name].unsqueeze(1) for name in likelihood.sites(like.new_empty(()))}


def _moments(network: nn.Module, likelihood: Likelihood, block: Inputs, job: Job) -> Prediction:
    online: OnlineMoments | None = None
    for chunk in chunks(network, job.weights, block, job.plan):
        axes = chunk.f.dim() - 2
        likelihood.check_shapes(chunk.f[0], None, output_axes=axes)
        mean, variance = likelihood.moments(chunk.f, output_axes=axes, **latents_of(likelihood, chunk.draws))
        online = online or OnlineMoments(mean, num_rows(block))
        online.add(chunk.rows, chunk.start, mean, variance.expand_as(mean))
    assert online is not None  # there are rows and draws
    return online.prediction(job.weights.num_draws)


def _filled(parts: Iterator[Prediction], total: int) -> Prediction:
    """Copy blocks into arrays of their full size, so that no number is in memory twice."""
    whole: list[Tensor] = []
    first = 0
    for part in parts:
        moments = [getattr(part, name) for name in _FIELDS]
        whole = whole or [each.new_empty(total, *each.shape[1:]) for each in moments]
        for target, each in zip(whole, moments, strict=True):
            target[first : first + len(each)] = each
        first += len(part.mean)
    return Prediction(*whole)


def write_predictions(path: str | os.PathLike[str], parts: Iterator[Prediction]) -> int:
    """Write predictions to a file as they come, and return the number of rows."""
    written = 0
    try:
        with new_table(path) as write:
            for part in _marked(parts):
                write(_columns(part))
                written += len(part.mean)
    except _RowsFailed as failed:
        raise failed.error from failed.error.__cause__
    return written


class _RowsFailed(Exception):  # noqa: N818  (it never leaves this module)
    def __init__(self, error: OSError) -> None:
        self.error = error


def _marked(parts: Iterator[Prediction]) -> Iterator[Prediction]:
    """Mark OSErrors from the caller's rows, which must not be taken for those of the file that is written."""
    try:
        yield from parts
    except OSError as error:
        raise _RowsFailed(error) from error


def _columns(part: Prediction) -> dict[str, np.ndarray]:
    moments = {name: getattr(part, name).cpu() for name in (*_FIELDS, "std")}
    moments = {name: each if each.dtype == torch.float64 else each.float() for name, each in moments.items()}
    return {
        "_".join([name, *map(str, index)]): each[:, *index].numpy()
        for name, each in moments.items()
        for index in np.ndindex(*each.shape[1:])
    }
