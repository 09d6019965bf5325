"""The state of a fit as arrays and a document, and back; nothing that was read is trusted."""

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
from ..stepping.step import Position
from ..trainer import State

DOCUMENT = "checkpoint"
_VECTORS = ("theta", "first", "second")
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_MODES = ("eager", "captured", "compiled")
_KINDS = {
    "fingerprint": dict, "machine": str, "mode": str, "ran": str, "threads": int, "schedule": dict, "order": dict,
    "step": int, "evaluated_at": int, "evaluations": int, "said": list, "seconds": float, "finished": bool,
}  # fmt: skip
_COUNTS = ("threads", "step", "evaluated_at", "evaluations")


def arrays(state: State) -> dict[str, Tensor]:
    """Gather the numbers of a state as bits: exact, and free of the storage's rule that all be finite."""
    found = {
        **dict(zip(_VECTORS, state.position.tensors(), strict=True)),
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


def state(kept: Mapping[str, Any], stored: StoredFolder, like: Tensor) -> State:
    """Load a state."""
    vector = ArraySpec(_BITS[like.dtype.itemsize], tuple(like.shape))
    expected = {
        **dict.fromkeys(_VECTORS, vector),
        "history": ArraySpec(torch.int64, (kept["step"],)),
        "validation": ArraySpec(torch.int64, (_shape(stored, "validation", 2)[0], 2)),
    }
    for i in range(kept["evaluations"]):
        for each in fields(Evaluation):
            name = f"evaluation.{i}.{each.name}"
            # As many draws as there are: how many follows from settings, which are the same.
            axes = _shape(stored, name, 2 if each.name == "log_likelihoods" else 1)
            expected[name] = ArraySpec(torch.int64, axes)
    loaded = stored.load_arrays(expected)
    theta, first, second = (loaded[name].view(like.dtype).to(like.device) for name in _VECTORS)
    doubles = {name: value.view(torch.float64) for name, value in loaded.items() if name not in _VECTORS}
    return State(
        position=Position(theta, first, second),
        step=kept["step"],
        history=doubles["history"].tolist(),
        evaluations=[_evaluation(doubles, i, like.device) for i in range(kept["evaluations"])],
        evaluated_at=kept["evaluated_at"],
        validation=[(int(at), value) for at, value in doubles["validation"].tolist()],
    )


def _shape(stored: StoredFolder, name: str, axes: int) -> tuple[int, ...]:
    """The stored shape, if it has so many axes; else one that the stored one is not."""
    spec = stored.header.get(name)
    return spec.shape if spec is not None and len(spec.shape) == axes else (0,) * axes


def _evaluation(doubles: Mapping[str, Tensor], i: int, device: torch.device) -> Evaluation:
    found: dict[str, Any] = {each.name: doubles[f"evaluation.{i}.{each.name}"] for each in fields(Evaluation)}
    return Evaluation(**{
        name: value.to(device) if value.dim() else value.item() for name, value in found.items()
    })  # fmt: skip


def schedule(document: Mapping[str, Any], own: Schedule) -> Schedule:
    """Build the stored schedule: the fit's own, but for a learning rate that a divergence made smaller."""
    if document.keys() != asdict(own).keys() or not isinstance(document["learning_rate"], float | int):
        raise StorageError(f"its schedule must have the fields {list(asdict(own))}.")
    found = Schedule(**document)
    if asdict(found) != {**asdict(own), "learning_rate": found.learning_rate}:
        raise StorageError("its schedule is not the one of this fit.")
    return found


def check(documents: Mapping[str, Any]) -> None:
    """Refuse what no fit has written."""
    kept = documents.get(DOCUMENT)
    if not isinstance(kept, dict) or kept.keys() != _KINDS.keys():
        raise StorageError("it must hold a checkpoint of a fit; it holds something else.")
    wrong = [name for name, kind in _KINDS.items() if type(kept[name]) is not kind]
    if not wrong:
        wrong = [name for name in _COUNTS if kept[name] < 0]
        wrong += [name for name in ("mode", "ran") if kept[name] not in _MODES]
        wrong += (
            [] if all(isinstance(group, dict) for group in kept["fingerprint"].values()) else ["fingerprint"]
        )
        wrong += [] if all(isinstance(text, str) for text in kept["said"]) else ["said"]
        wrong += [] if 0 < kept["threads"] < 2**16 else ["threads"]
        wrong += [] if math.isfinite(kept["seconds"]) else ["seconds"]
        wrong += [] if _is_ordered(kept) else ["step", "evaluated_at", "evaluations"]
    if wrong:
        raise StorageError(f"it has values that no fit writes, in {', '.join(sorted(set(wrong)))}.")


def _is_ordered(kept: Mapping[str, Any]) -> bool:
    """Whether evaluations and steps belong together: a finished fit has an evaluation of its last step."""
    done = kept["evaluated_at"] == kept["step"] if kept["finished"] else kept["evaluated_at"] <= kept["step"]
    return done and kept["evaluations"] <= 2 and (kept["evaluations"] > 0) == (kept["evaluated_at"] > 0)
