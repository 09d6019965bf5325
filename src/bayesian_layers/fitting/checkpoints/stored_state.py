"""The training state as arrays and a document, and back; everything that is read is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor

from ...errors import StorageError
from ...saving import ArraySpec, StoredFolder
from ..evaluation import Evaluation
from ..schedule import Schedule
from ..stepping.optimizer import OptimizerState
from ..stepping.step import MODES
from ..trainer import TrainingState

DOCUMENT = "checkpoint"
_VECTORS = ("theta", "exp_avg", "exp_avg_sq")
_MATRICES = ("log_likelihoods", "marginals")  # of an evaluation; the others have one axis
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_TYPES = {
    "fingerprint": dict, "values": list, "machine": str, "mode": str, "last_mode": str, "threads": int,
    "schedule": dict, "batches": dict, "step": int, "evaluated_at": int, "evaluations": int, "restarts": list,
    "seconds": float, "finished": bool,
}  # fmt: skip
_MAX_THREADS = 1024  # with many more the process is killed


def arrays(state: TrainingState) -> dict[str, Tensor]:
    """Return the numbers of a state as bits: the storage refuses NaN, which a noisy objective may hold."""
    found = {
        **dict(zip(_VECTORS, state.optimizer.tensors(), strict=True)),
        "history": torch.tensor(state.history, dtype=torch.float64),
        "validation": torch.tensor(state.validation, dtype=torch.float64).reshape(-1, 2),
    }
    for i, evaluation in enumerate(state.evaluations):
        for each in fields(evaluation):
            value = torch.as_tensor(getattr(evaluation, each.name), dtype=torch.float64)
            found[f"evaluation.{i}.{each.name}"] = value
    return {name: _bits(value) for name, value in found.items()}


def _bits(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous().view(_BITS[value.dtype.itemsize])


def state(kept: Mapping[str, Any], stored: StoredFolder, like: Tensor) -> TrainingState:
    """Load a state; ``like`` is the vector of trained parameters."""
    vector = ArraySpec(_BITS[like.dtype.itemsize], tuple(like.shape))
    expected = {
        **dict.fromkeys(_VECTORS, vector),
        "history": ArraySpec(torch.int64, (kept["step"],)),
        "validation": ArraySpec(torch.int64, (_shape(stored, "validation", 2)[0], 2)),
    }
    for i in range(kept["evaluations"]):
        for each in fields(Evaluation):
            name = f"evaluation.{i}.{each.name}"
            # The number of draws follows from the settings, which are the same.
            axes = _shape(stored, name, 2 if each.name in _MATRICES else 1)
            expected[name] = ArraySpec(torch.int64, axes)
    loaded = stored.load_arrays(expected)
    vectors = [loaded[name].view(like.dtype).to(like.device) for name in _VECTORS]
    if kept["finished"] and not vectors[0].isfinite().all():
        raise StorageError("its fit is finished, so its parameters must be finite; some are not.")
    doubles = {name: value.view(torch.float64) for name, value in loaded.items() if name not in _VECTORS}
    return TrainingState(
        optimizer=OptimizerState(*vectors),
        step=kept["step"],
        history=doubles["history"].tolist(),
        evaluations=[_evaluation(doubles, i, like.device) for i in range(kept["evaluations"])],
        evaluated_at=kept["evaluated_at"],
        validation=[(int(at), value) for at, value in doubles["validation"].tolist()],
    )


def _shape(stored: StoredFolder, name: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a stored array, or one that differs from it if it has another number of axes."""
    spec = stored.header.get(name)
    return spec.shape if spec is not None and len(spec.shape) == axes else (0,) * axes


def _evaluation(doubles: Mapping[str, Tensor], i: int, device: torch.device) -> Evaluation:
    names = [each.name for each in fields(Evaluation)]
    return Evaluation(**{name: doubles[f"evaluation.{i}.{name}"].to(device) for name in names})


def schedule(document: Mapping[str, Any], own: Schedule) -> Schedule:
    """Build the stored schedule, which is the fit's own except for a learning rate reduced by a divergence."""
    if document.keys() != asdict(own).keys() or not isinstance(document["learning_rate"], float | int):
        raise StorageError(f"its schedule must have the fields {list(asdict(own))}.")
    found = Schedule(**document)
    if asdict(found) != {**asdict(own), "learning_rate": found.learning_rate}:
        raise StorageError("its schedule must be the one of this fit.")
    return found


def check(documents: Mapping[str, Any]) -> None:
    """Raise StorageError for documents that no fit writes."""
    kept = documents.get(DOCUMENT)
    if not isinstance(kept, dict) or kept.keys() != _TYPES.keys():
        raise StorageError("it must be a checkpoint of a fit, but holds something else.")
    wrong = [name for name, kind in _TYPES.items() if type(kept[name]) is not kind] or _out_of_range(kept)
    if wrong:
        raise StorageError(f"it has values that no fit writes, in {', '.join(sorted(wrong))}.")


def _out_of_range(kept: Mapping[str, Any]) -> list[str]:
    ordered = _is_ordered(kept)
    right = {
        "mode": kept["mode"] in MODES,
        "last_mode": kept["last_mode"] in MODES,
        "fingerprint": all(isinstance(group, dict) for group in kept["fingerprint"].values()),
        "values": all(type(value) is float for value in kept["values"]),
        "restarts": all(isinstance(text, str) for text in kept["restarts"]),
        "threads": 0 < kept["threads"] <= _MAX_THREADS,
        "seconds": math.isfinite(kept["seconds"]),
        "step": ordered and kept["step"] >= 0,
        "evaluated_at": ordered and kept["evaluated_at"] >= 0,
        "evaluations": ordered and kept["evaluations"] >= 0,
    }
    return [name for name, is_right in right.items() if not is_right]


def _is_ordered(kept: Mapping[str, Any]) -> bool:
    """Return whether evaluations and steps agree: a finished fit was evaluated at its last step."""
    done = kept["evaluated_at"] == kept["step"] if kept["finished"] else kept["evaluated_at"] <= kept["step"]
    return done and kept["evaluations"] <= 2 and (kept["evaluations"] > 0) == (kept["evaluated_at"] > 0)
