"""Folders come back bit for bit, replace only their own kind, and every damaged one is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from bayesian_layers.errors import DataError, StorageError
from bayesian_layers.saving import ArraySpec, read_folder, strict_json, write_folder

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32]
DTYPES += [torch.int64, torch.uint8, torch.bool]
DOCUMENTS = {"model": {"kind": "mean field", "layers": [1, 2.5, None, True, "é 😀"]}, "table_schema": {}}
NEW = {"model": {"kind": "new"}}


def some_arrays() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    arrays = {f"x.{dtype}": torch.randn(3, 5, generator=generator).to(dtype) for dtype in DTYPES}
    flat = torch.arange(10.0, requires_grad=True)
    views = {"view 1": flat[:5], "view 2": flat[3:], "turned": flat.view(2, 5).T, "wide": flat[:1].expand(4)}
    return (
        arrays | views | {"scalar": torch.tensor(-0.0), "empty": torch.zeros(0, 3), "ß/../é": torch.ones(2)}
    )


def load(folder: Path) -> dict[str, torch.Tensor]:
    stored = read_folder(folder)
    return stored.load_arrays(stored.header)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    bits = [x.detach().contiguous().flatten().view(torch.uint8) for x in (left, right)]
    return ArraySpec.of(left) == ArraySpec.of(right) and torch.equal(*bits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(
        tmp_path / "model", {"loc": torch.arange(6.0).view(2, 3), "on": torch.ones(2) > 0}, DOCUMENTS
    )
    return tmp_path / "model"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def put(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree, so that the next check is the one under test."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def safetensors_file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# --- round trip ---------------------------------------------------------------------------------------------


def test_everything_comes_back_bit_for_bit(tmp_path):
    arrays = some_arrays()
    write_folder(tmp_path / "new" / "parents" / "model", arrays, DOCUMENTS)
    stored = read_folder(str(tmp_path / "new" / "parents" / "model"))
    assert stored.documents == DOCUMENTS
    assert stored.header == {name: ArraySpec.of(array) for name, array in arrays.items()}
    loaded = stored.load_arrays({name: ArraySpec.of(array) for name, array in arrays.items()})
    assert set(loaded) == set(arrays)
    assert all(same_bits(loaded[name], array) for name, array in arrays.items())
    loaded["view 1"].add_(1)  # an ordinary tensor, that shares no memory with others
    assert loaded["view 2"][0] == 3


def test_without_arrays_or_documents(tmp_path):
    write_folder(tmp_path / "model", {}, {})
    assert load(tmp_path / "model") == {}
    assert read_folder(tmp_path / "model").documents == {}


def test_files_are_the_named_ones_and_equal_inputs_give_equal_bytes(folder, tmp_path):
    assert names_in(folder) == {"arrays.safetensors", "model.json", "table_schema.json", "manifest.json"}
    write_folder(tmp_path / "twin", dict(reversed(load(folder).items())), DOCUMENTS)
    for name in names_in(folder) - {"manifest.json"}:
        assert (folder / name).read_bytes() == (tmp_path / "twin" / name).read_bytes()


def test_random_states_are_left_alone(tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    write_folder(tmp_path / "model", some_arrays(), DOCUMENTS)
    load(tmp_path / "model")
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


# --- replacing ----------------------------------------------------------------------------------------------


def test_own_folder_is_replaced_and_what_others_added_is_kept(folder, tmp_path):
    (folder / "notes.txt").write_text("mine")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one.png").write_bytes(b"1")
    write_folder(folder, {"scale": torch.ones(1)}, NEW)
    assert names_in(folder) == {"arrays.safetensors", "model.json", "manifest.json", "notes.txt", "pictures"}
    assert (folder / "pictures" / "one.png").read_bytes() == b"1"
    assert list(load(folder)) == ["scale"]
    assert names_in(tmp_path) == {"model"}


def test_an_empty_folder_and_a_link_to_an_own_folder_may_be_written(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", {}, {"a": {}})
    (tmp_path / "latest").symlink_to(folder)
    write_folder(tmp_path / "latest", {}, NEW)
    assert read_folder(folder).documents == NEW
    assert (tmp_path / "latest").is_symlink()


@pytest.mark.parametrize(
    "content", [{"thesis.txt": "x"}, {"manifest.json": "{}"}, {"manifest.json": "no JSON"}]
)
def test_a_foreign_folder_is_never_replaced(tmp_path, content):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name, text in content.items():
        (foreign / name).write_text(text)
    with pytest.raises(StorageError, match="must be a folder that this library wrote"):
        write_folder(foreign, {}, {})
    assert {path.name: path.read_text() for path in foreign.iterdir()} == content
    assert names_in(tmp_path) == {"foreign"}


def test_a_file_is_never_replaced_nor_a_foreign_file_of_a_needed_name(folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="must be a folder that this library wrote"):
        write_folder(tmp_path / "file", {}, {})
    (folder / "extra.json").write_text("mine")
    with pytest.raises(StorageError, match=r"extra\.json must be absent"):
        write_folder(folder, {}, {"model": {}, "extra": {}})
    assert (folder / "extra.json").read_text() == "mine"
    assert read_folder(folder).documents == DOCUMENTS


def test_a_folder_of_another_kind_is_never_replaced(folder):
    with pytest.raises(
        StorageError, match=r"hold a checkpoint; .* else there \(model\.json, table_schema\.json\)"
    ):
        write_folder(folder, {}, {"checkpoint": {}})
    assert read_folder(folder).documents == DOCUMENTS


class Crash(BaseException):
    """A power cut, as far as Python can play one."""


def fail_at(
    monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException, *, then: bool
) -> None:
    """Make call number ``call`` of ``os.name`` raise, and with ``then`` all later ones."""
    original, calls = getattr(os, name), iter(range(1000))

    def failing(*arguments, **options):
        now = next(calls)
        if now == call or (then and now > call):
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(os, name, failing)


@pytest.mark.parametrize("then", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Crash()])
@pytest.mark.parametrize(
    ("name", "call"), [("fsync", 0), ("fsync", 1), ("mkdir", 1), ("rename", 0), ("rename", 1)]
)
def test_a_failure_leaves_the_old_state_and_no_temporary(
    folder, tmp_path, monkeypatch, name, call, error, then
):
    with monkeypatch.context() as patched:
        fail_at(patched, name, call, error, then=then)
        with pytest.raises(StorageError if isinstance(error, OSError) else Crash):
            write_folder(folder, {"new": torch.ones(3)}, NEW)
    assert read_folder(folder).documents == DOCUMENTS
    assert torch.equal(load(folder)["loc"], torch.arange(6.0).view(2, 3))
    if (name, call, then) != ("rename", 1, True):  # there the old folder is read where it was put aside
        assert names_in(tmp_path) == {"model"}
    write_folder(folder, {"new": torch.ones(3)}, NEW)
    assert set(load(folder)) == {"new"}
    assert names_in(tmp_path) == {"model"}


def test_a_full_disk_is_named_and_a_first_write_leaves_nothing(tmp_path, monkeypatch):
    fail_at(monkeypatch, "fsync", 0, OSError(errno.ENOSPC, "No space left on device"), then=True)
    with pytest.raises(StorageError, match="No space left on device"):
        write_folder(tmp_path / "model", {}, {})
    assert names_in(tmp_path) == set()


def test_what_a_killed_write_left_behind_is_cleared(folder, tmp_path):
    shutil.copytree(folder, tmp_path / ".model.previous")  # killed after the second rename
    (tmp_path / ".model.previous" / "notes.txt").write_text("mine")
    write_folder(folder, {}, NEW)
    assert read_folder(folder).documents == NEW
    assert (folder / "notes.txt").read_text() == "mine"
    assert names_in(tmp_path) == {"model"}


# --- refusals when writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "1 that are not"),
        (torch.tensor([float("inf"), 1.0, float("-inf")], dtype=torch.bfloat16), "2 that are not"),
        (torch.zeros(1, dtype=torch.complex64), "complex64"),
        (torch.zeros(1).to_sparse(), "dense"),
        (torch.zeros(1, device="meta"), "dense"),
    ],
)
def test_arrays_that_could_not_be_read_back_are_not_written(tmp_path, array, message):
    with pytest.raises(StorageError, match=message) as refusal:
        write_folder(tmp_path / "model", {"loc": array}, {})
    assert "loc" in str(refusal.value)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("model", {"a": float("nan")}),
        ("model", {"a": {1: "number for a key"}}),
        ("model", {"a": torch.ones(1)}),
        ("model", {"a": "\ud800"}),
        ("model", {"a": [0] * strict_json.MAX_VALUES}),
        ("model", {"a": "x" * strict_json.MAX_BYTES}),
        ("manifest", {}),
        ("../model", {}),
        ("Model", {}),
        ("", {}),
        ("a\n", {}),
    ],
)
def test_documents_that_could_not_be_read_back_are_not_written(tmp_path, name, document):
    with pytest.raises(StorageError):
        write_folder(tmp_path / "model", {}, {name: document})
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("name", ["", "__metadata__"])
def test_array_names(tmp_path, name):
    with pytest.raises(StorageError, match="text name"):
        write_folder(tmp_path / "model", {name: torch.ones(1)}, {})


# --- refusals when reading: the folder ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "model.json", "arrays.safetensors"])
def test_each_file_must_be_a_regular_one(folder, tmp_path, name):
    os.link(folder / name, tmp_path / "kept")
    makers = {
        "missing": Path.exists,
        "link": lambda path: path.symlink_to(tmp_path / "kept"),
        "folder": lambda path: path.mkdir(),
        "pipe": os.mkfifo,
        "link to a device": lambda path: path.symlink_to("/dev/zero"),
    }
    for make in makers.values():
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
        make(folder / name)
        with pytest.raises(StorageError, match=name):
            load(folder)


@pytest.mark.parametrize("name", ["absent", "", "a\0b", "x" * 300, "file"])
def test_a_missing_folder(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        read_folder(tmp_path / name)


def test_unlisted_files_are_ignored_and_a_link_to_the_folder_is_followed(folder, tmp_path):
    (folder / "evil.json").symlink_to("/etc/passwd")
    (folder / "card.md").write_text("# a card")
    (tmp_path / "latest").symlink_to(folder)
    assert read_folder(tmp_path / "latest").documents == DOCUMENTS


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
def test_truncated_grown_and_changed_files(folder, name):
    whole = (folder / name).read_bytes()
    cases = {
        "bytes": [whole[:-1], whole[:4], b"", whole + b"x"],
        "sha256": [whole[:-1] + bytes([whole[-1] ^ 1])],
    }
    for message, contents in cases.items():
        for content in contents:
            (folder / name).write_bytes(content)
            with pytest.raises(StorageError, match=message):
                load(folder)


def test_a_file_that_changes_between_judgement_and_loading(folder):
    stored = read_folder(folder)
    write_folder(folder, {"loc": torch.zeros(2, 3), "on": torch.ones(2) > 0}, DOCUMENTS)
    with pytest.raises(StorageError, match="sha256"):
        stored.load_arrays(stored.header)


GOOD = {"bytes": 2, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"format": None},
        {"format_version": 0},
        {"format_version": 3},
        {"format_version": True},
        {"format_version": 10**5000},
        {"format_version": "1"},
        {"more": 1},
        {"files": []},
        {"files": {}},
        {"files": {"model.json": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "../model.json": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "/etc/x.json": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "a\\b.json": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "model.json\n": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "manifest.json": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "model.pkl": GOOD}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"bytes": -1}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"bytes": True}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"bytes": 2.0}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"bytes": 2**70}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"bytes": strict_json.MAX_BYTES + 1}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"sha256": "0" * 63}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": GOOD | {"more": 1}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": {"bytes": 2}}},
        {"files": {"arrays.safetensors": GOOD, "model.json": 3}},
    ],
)
def test_manifests_of_another_kind(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text()) | change
    digits = str(10**4000) + "0" * 1000 if change.get("format_version") == 10**5000 else ""
    text = json.dumps(manifest | ({"format_version": 0} if digits else {}))
    (folder / "manifest.json").write_text(text.replace('"format_version": 0', f'"format_version": {digits}'))
    with pytest.raises(StorageError, match=r"manifest\.json"):
        read_folder(folder)


# --- refusals when reading: documents -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\x80\x04.", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b"[1]", "a list"),
        (b"3", "a int"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' twice"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "more than 64 bits"),
        (b'{"a": %d}' % (2**64), "more than 64 bits"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "41 deep"),
        (b"[" * 150_000, "150000 deep"),
        (b"[" * 1_000_000, "259000265"),
        (b'{"a": [' + b"0," * strict_json.MAX_VALUES + b"0]}", "200002 values"),
        (b'{"a": "' + b"x" * strict_json.MAX_BYTES + b'"}', "bytes"),
    ],
)
def test_documents_of_another_kind(folder, text, message):
    put(folder, "model.json", text)
    with pytest.raises(StorageError, match=message) as refusal:
        read_folder(folder)
    assert len(str(refusal.value)) < 600


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b'{"a": [' + b",".join([b'{"a":{}}'] * (strict_json.MAX_VALUES // 3 - 9)) + b"]}",
        b"{" + b",".join(b'"%d":1' % i for i in range(strict_json.MAX_VALUES - 9)) + b"}",
        b'"' * (strict_json.MAX_BYTES - 1),
        b'{"a": "' + b'\\"' * (strict_json.MAX_BYTES // 2 - 9) + b'"}',
        b"[" * (strict_json.MAX_BYTES - 1),
    ],
)
def test_no_text_takes_much_memory(text):
    def attempt() -> None:
        with pytest.raises(StorageError):
            strict_json.parse(text + b" !", "here")  # the end is wrong, so that all before it is parsed

    # What 200,000 of the largest values take (50 MB, measured 43), and once the text.
    assert peak_memory(attempt) < 50 * 2**20 + len(text)


def peak_memory(action) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- refusals when reading: arrays --------------------------------------------------------------------------

HUGE = 2**62


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its beginning"),
        (b"\x02\0\0\0", "its beginning"),
        (b"PK\x03\x04" + b"\0" * 50, "a zip archive|at most"),
        (b"PK\x03\x04\x14\0\0\0\x08\0\x21\0" + b"\0" * 50, "a zip archive"),
        (pickle.dumps({"a": [1.0] * 50}), "a pickle"),
        (b"\xff" * 100, "something else"),
        ((2**63).to_bytes(8, "little") + b"{}", "something else"),
        ((100).to_bytes(8, "little") + b"{}", "something else"),
        (safetensors_file(b"{}") + b"\0", "0 bytes of 1"),
        (safetensors_file(b"[]"), "a list"),
        (safetensors_file(b"[" * 1000), "deep"),
        (safetensors_file(b'{"a":1,"a":2}'), "twice"),
        (safetensors_file({"a": 3}), "other keys"),
        (safetensors_file({"a": entry() | {"more": 1}}, b"\0" * 8), "other keys"),
        (safetensors_file({"a": entry(dtype="F8_E4M3", offsets=(0, 2))}, b"\0" * 2), "dtype"),
        (safetensors_file({"a": entry(dtype="C64", shape=(1,))}, b"\0" * 8), "dtype"),
        (safetensors_file({"a": entry(dtype=["F32"])}, b"\0" * 8), "dtype"),
        (safetensors_file({"a": entry(shape=2)}, b"\0" * 8), "not a list"),
        (safetensors_file({"a": entry(shape=(-2,))}, b"\0" * 8), "integers"),
        (safetensors_file({"a": entry(shape=(-1, -2))}, b"\0" * 8), "integers"),
        (safetensors_file({"a": entry(shape=(2.0,))}, b"\0" * 8), "integers"),
        (safetensors_file({"a": entry(shape=(True, 2))}, b"\0" * 8), "integers"),
        (safetensors_file({"a": entry(shape=(2**63, 0), offsets=(0, 0))}), "integers"),
        (safetensors_file({"a": entry(shape=(1,) * 65, offsets=(0, 4))}, b"\0" * 4), "integers"),
        (safetensors_file({"a": entry(shape=(HUGE, HUGE, 0), offsets=(0, 0))}), "fit in memory"),
        (safetensors_file({"a": entry(shape=(HUGE, 4), offsets=(0, 0))}), "fit in memory"),
        (safetensors_file({"a": entry(shape=(10**9,))}, b"\0" * 8), "does not fill"),
        (
            safetensors_file({"a": entry(shape=(10**9,), offsets=(0, 4 * 10**9))}, b"\0" * 8),
            "4000000000 bytes of 8",
        ),
        (safetensors_file({"a": entry(offsets=(0, 4))}, b"\0" * 8), "does not fill"),
        (safetensors_file({"a": entry(offsets=(8, 0))}, b"\0" * 8), "does not fill"),
        (safetensors_file({"a": entry(offsets=(-8, 0))}, b"\0" * 8), "data_offsets"),
        (safetensors_file({"a": entry(offsets=(0, 8, 8))}, b"\0" * 8), "data_offsets"),
        (safetensors_file({"a": entry(offsets=(0.0, 8.0))}, b"\0" * 8), "data_offsets"),
        (safetensors_file({"a": entry(), "b": entry()}, b"\0" * 8), "does not fill"),  # overlap
        (safetensors_file({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), "does not fill"),
        (safetensors_file({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), "does not fill"),  # gap
        (safetensors_file({"a": entry(offsets=(4, 12))}, b"\0" * 12), "does not fill"),
        (safetensors_file({"a": entry()}, b"\0" * 12), "8 bytes of 12"),
        (safetensors_file({"a": entry()}, b"\0" * 4), "8 bytes of 4"),
        (safetensors_file({"a": entry(), "__metadata__": {"a": 1}}, b"\0" * 8), "text by text"),
        (safetensors_file({"a": entry(), "__metadata__": 1}, b"\0" * 8), "text by text"),
        (
            safetensors_file({"a": entry()}, b"\0\0\xc0\x7f\0\0\x80\xff"),
            "2 that are not",
        ),  # NaN and -infinity
        (safetensors_file({"a": entry(dtype="BOOL", offsets=(0, 2))}, b"\1\2"), "1 that are not"),
    ],
)
def test_array_files_of_another_kind(folder, content, message):
    put(folder, "arrays.safetensors", content)
    with pytest.raises(StorageError, match=message) as refusal:
        load(folder)
    assert len(str(refusal.value)) < 600


def test_the_hand_made_file_is_good_when_it_is_right(folder):
    header = {"b": entry(offsets=(8, 16)), "a": entry(), "__metadata__": {"by": "hand"}}
    put(folder, "arrays.safetensors", safetensors_file(header, np.arange(4, dtype="<f4").tobytes()))
    assert load(folder)["b"].tolist() == [2.0, 3.0]


def test_a_large_header_is_refused_before_it_is_read(folder):
    length = strict_json.MAX_BYTES + 1
    with (folder / "arrays.safetensors").open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + 100 * length)  # sparse: takes no disk
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["arrays.safetensors"]["bytes"] = 8 + 100 * length
    (folder / "manifest.json").write_text(json.dumps(manifest))

    def attempt() -> None:
        with pytest.raises(StorageError, match="at most"):
            read_folder(folder)

    assert peak_memory(attempt) < 2**20


def test_arrays_are_judged_before_memory_is_taken(folder):
    size = 4 * 2**36
    beginning = safetensors_file({"a": entry(shape=(2**36,), offsets=(0, size))})
    with (folder / "arrays.safetensors").open("wb") as file:
        file.write(beginning)
        file.truncate(len(beginning) + size)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["arrays.safetensors"]["bytes"] = len(beginning) + size
    (folder / "manifest.json").write_text(json.dumps(manifest))

    def attempt() -> None:
        stored = read_folder(folder)
        assert stored.header == {"a": ArraySpec(torch.float32, (2**36,))}
        with pytest.raises(StorageError, match=r"must be float32 \(3,\)"):
            stored.load_arrays({"a": ArraySpec(torch.float32, (3,))})

    assert peak_memory(attempt) < 2**20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": ArraySpec(torch.float32, ())}, r"'more' of .* must be float32 \(\); received none"),
        ({"on": None}, r"'on' of .* must be absent; received bool \(2,\)"),
        ({"loc": ArraySpec(torch.float32, (3, 2))}, r"must be float32 \(3, 2\); received float32 \(2, 3\)"),
        ({"loc": ArraySpec(torch.float64, (2, 3))}, r"must be float64 \(2, 3\); received float32 \(2, 3\)"),
    ],
)
def test_only_the_expected_arrays_are_loaded(folder, change, message):
    stored = read_folder(folder)
    expected = {name: spec for name, spec in (stored.header | change).items() if spec is not None}
    with pytest.raises(StorageError, match=message):
        stored.load_arrays(expected)


class Evil:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_pickle_is_ever_run(folder, tmp_path):
    pickled = pickle.dumps({"loc": Evil(tmp_path / "run")})
    torch.save({"loc": Evil(tmp_path / "run")}, tmp_path / "saved.pt")
    originals = {name: (folder / name).read_bytes() for name in names_in(folder)}
    for bad in (pickled, (tmp_path / "saved.pt").read_bytes()):
        for name in originals:
            put(folder, name, bad) if name != "manifest.json" else (folder / name).write_bytes(bad)
            with pytest.raises(StorageError):
                load(folder)
            for original, content in originals.items():
                (folder / original).write_bytes(content)
    assert not (tmp_path / "run").exists()
    pickle.loads(pickled)  # the trap itself works
    assert (tmp_path / "run").exists()


def test_random_damage_is_refused_or_harmless(folder):
    """With a manifest made to agree, damage is either refused or changed no more than values."""
    generator = random.Random(0)
    whole = (folder / "arrays.safetensors").read_bytes()
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        put(folder, "arrays.safetensors", bytes(damaged[: generator.randint(len(whole) - 2, len(whole))]))
        try:
            arrays = load(folder)
        except StorageError:
            refused += 1
        else:
            assert sum(array.nbytes for array in arrays.values()) <= len(whole)
    assert refused > 400


# --- notes, limits, other readers ---------------------------------------------------------------------------


def test_notes_are_written_replaced_and_never_read(folder):
    write_folder(folder, {}, DOCUMENTS, {"CARD": "# é"})
    assert (folder / "CARD.md").read_text(encoding="utf-8") == "# é"
    (folder / "CARD.md").write_text("mine")
    assert read_folder(folder).documents == DOCUMENTS
    write_folder(folder, {}, DOCUMENTS, {"CARD": "again"})
    assert (folder / "CARD.md").read_text() == "again"
    write_folder(folder, {}, DOCUMENTS)
    assert "CARD.md" not in names_in(folder)


@pytest.mark.parametrize("name", ["card", "../CARD", "", "A.B", "A/B"])
def test_names_of_notes(tmp_path, name):
    with pytest.raises(StorageError, match=r"notes; received"):
        write_folder(tmp_path / "model", {}, {}, {name: ""})


@pytest.mark.slow
def test_documents_that_are_too_many_together(tmp_path):
    half = {"a": [{}] * (strict_json.MAX_VALUES // 3)}
    with pytest.raises(StorageError, match="of the folder to save must fit"):
        write_folder(tmp_path / "model", {}, dict.fromkeys("abcdefg", half))


def test_the_first_format_version_is_read(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 1}))
    assert read_folder(folder).documents == DOCUMENTS


def test_memory_is_counted_before_it_is_taken(folder):
    whole = read_folder(folder, 2**20)
    whole.reserve(1000, "something")
    with pytest.raises(StorageError, match="something more must fit into the 1048576 bytes"):
        whole.reserve(2**20, "something more")
    with pytest.raises(StorageError, match=r"manifest\.json must fit into the 100 bytes"):
        read_folder(folder, 100)
    with pytest.raises(DataError, match="max_bytes"):
        read_folder(folder, 0)


def test_arrays_are_read_as_the_format_s_own_library_reads_them(tmp_path):
    write_folder(tmp_path / "model", some_arrays(), {})
    theirs = safetensors.torch.load((tmp_path / "model" / "arrays.safetensors").read_bytes())
    ours = load(tmp_path / "model")
    assert ours.keys() == theirs.keys()
    assert all(same_bits(ours[name], theirs[name]) for name in theirs)
