"""Tensors as safetensors bytes, with a header that is judged before any array is."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from ..errors import StorageError
from . import strict_json
from .regular_files import AGAIN
from .schema import show

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_METADATA = "__metadata__"
_MAX_DIMENSIONS = 64
_PIECE = 2**20


@dataclass(frozen=True)
class ArraySpec:
    """The dtype and shape of an array that a file of the library can hold."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES.values():
            raise StorageError(f"an array must have one of the dtypes {list(DTYPES)}; received {self.dtype}")
        if len(self.shape) > _MAX_DIMENSIONS or not all(_is_count(length) for length in self.shape):
            raise StorageError(f"a shape must be up to {_MAX_DIMENSIONS} integers, none negative")
        # An axis of length 0 must not hide others whose strides overflow.
        if math.prod(max(length, 1) for length in self.shape) * self.dtype.itemsize >= 2**63:
            raise StorageError("a shape must fit in memory; this one has 2**63 bytes or more")

    @classmethod
    def of(cls, array: Tensor) -> ArraySpec:
        """Describe a tensor."""
        return cls(array.dtype, tuple(array.shape))

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {self.shape}"


def encode(arrays: Mapping[str, Tensor]) -> bytes:
    """Write tensors as the bytes of a safetensors file."""
    copies = {}
    for name, array in arrays.items():
        if not isinstance(name, str) or name in {"", _METADATA}:
            raise StorageError(f"an array must have a text name other than {_METADATA!r}; received {name!r}")
        if array.layout != torch.strided or array.is_meta or array.is_quantized:
            raise StorageError(f"array `{name}` must be dense, with values; received {array.layout}")
        try:
            ArraySpec.of(array)
        except StorageError as error:
            raise StorageError(f"array `{name}` cannot be saved: {error}") from error
        copies[name] = array.detach().cpu().clone(memory_format=torch.contiguous_format)
        _check_values(name, copies[name], "the arrays to save")
    data = safetensors.torch.save(copies)
    read_header(
        data[: header_end(data[:8], len(data), "the arrays to save")], len(data), "the arrays to save"
    )
    return data


def header_end(start: bytes, size: int, where: str) -> int:
    """Find where the header of a safetensors file ends."""
    disguise = {b"PK": "a zip archive", b"\x80": "a pickle"}
    kind = next((kind for magic, kind in disguise.items() if start.startswith(magic)), "something else")
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise StorageError(
            f"{where} must be a whole safetensors file; received {kind}, or only its beginning. {AGAIN}"
        )
    if length > strict_json.MAX_BYTES:
        raise StorageError(
            f"the header of {where} must have at most {strict_json.MAX_BYTES} bytes; "
            f"received {length}. {AGAIN}"
        )
    return 8 + length


def read_header(beginning: bytes, size: int, where: str) -> dict[str, ArraySpec]:
    """Read what arrays a safetensors file holds, and check that they fill it exactly."""
    entries = strict_json.parse(beginning[8:], f"the header of {where}")
    metadata = entries.pop(_METADATA, {})
    try:
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise StorageError(f"its {_METADATA} is not text by text")
        parsed = sorted(((name, *_entry(entry)) for name, entry in entries.items()), key=lambda row: row[2])
        reached = 0
        for name, spec, (begin, end) in parsed:
            if begin != reached or end - begin != spec.nbytes:
                raise StorageError(f"array {name[:60]!a} ({spec}) does not fill its place")
            reached = end
        if reached != size - len(beginning):
            raise StorageError(f"the arrays take {reached} bytes of {size - len(beginning)}")
    except StorageError as error:
        raise StorageError(
            f"the header of {where} must describe its arrays one after the other; {error}. {AGAIN}"
        ) from error
    return {name: spec for name, spec, _ in parsed}


def _entry(entry: Any) -> tuple[ArraySpec, tuple[int, int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise StorageError("an entry has other keys than dtype, shape, data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise StorageError(f"a dtype is not one of {list(DTYPES)}")
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise StorageError("a shape or data_offsets is not a list")
    if len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise StorageError("data_offsets are not two integers")
    return ArraySpec(DTYPES[dtype], tuple(shape)), (offsets[0], offsets[1])


def read_arrays(
    file: BinaryIO, beginning: bytes, header: Mapping[str, ArraySpec], sha256: str, where: str
) -> dict[str, Tensor]:
    """Load the arrays of a safetensors file whose header was judged, each straight into its own memory."""
    if sys.byteorder != "little":
        raise StorageError(f"{where} must be read on a little-endian machine, as its format is little-endian")
    if file.read(len(beginning)) != beginning:
        raise StorageError(f"{where} must stay as it is while it is read; it changed. Try again.")
    hasher = hashlib.sha256(beginning)
    try:
        arrays = {name: _read_array(file, spec, hasher.update) for name, spec in header.items()}
    except (MemoryError, RuntimeError) as error:  # torch's own word for it is the latter
        raise StorageError(
            f"{where} must fit into memory; it does not ({show(str(error), 200)}). Use a larger machine."
        ) from error
    if hasher.hexdigest() != sha256:
        raise StorageError(f"{where} must have the sha256 that the manifest gives; received another. {AGAIN}")
    for name, array in arrays.items():
        _check_values(name, array, where)
    return arrays


def _read_array(file: BinaryIO, spec: ArraySpec, update: Callable[[memoryview], None]) -> Tensor:
    array = torch.empty(spec.shape, dtype=spec.dtype)
    if spec.nbytes:
        memory = memoryview(array.view(-1).view(torch.uint8).numpy())  # pyright: ignore
        for start in range(0, spec.nbytes, _PIECE):
            piece = memory[start : start + _PIECE]
            update(piece[: file.readinto(piece)])  # pyright: ignore  (a buffered file has it)
    return array


def _check_values(name: str, array: Tensor, where: str) -> None:
    # In pieces: finding out must not take the memory of the array a third time.
    bad = sum(int((~_is_good(piece)).sum()) for piece in array.flatten().split(_PIECE // 8))
    if bad:
        raise StorageError(
            f"array {name[:60]!a} of {where} must hold finite values; received {bad} that are not. "
            "They belong to a fit that failed, or to a damaged file."
        )


def _is_good(array: Tensor) -> Tensor:
    if array.dtype == torch.bool:  # any other byte makes a boolean that is neither true nor false
        return array.view(torch.uint8) <= 1
    return torch.isfinite(array)


def check_same(expected: Mapping[str, ArraySpec], header: Mapping[str, ArraySpec], where: str) -> None:
    """Raise if a header does not have the expected arrays."""
    for name in [*expected, *header]:
        if expected.get(name) != header.get(name):
            raise StorageError(
                f"array {name[:60]!a} of {where} must be {expected.get(name, 'absent')}; "
                f"received {header.get(name, 'none')}. Load it with the network that it was saved from."
            )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
