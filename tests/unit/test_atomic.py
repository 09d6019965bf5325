"""A file appears whole or not at all, errors of the disk are one sentence, and remains of killed writers go."""

import errno
import os
import subprocess
import sys

import pytest

from bayesian_layers.errors import StorageError
from bayesian_layers.saving import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_all_is_written(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"old")
    with atomic.new_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["p.csv"]
    assert path.stat().st_mode & 0o111 == 0


def test_a_link_to_a_file_stays_one(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"old")
    (tmp_path / "latest.csv").symlink_to(tmp_path / "p.csv")
    with atomic.new_file(tmp_path / "latest.csv") as file:
        file.write(b"new")
    assert (tmp_path / "latest.csv").is_symlink()
    assert (tmp_path / "p.csv").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "p.csv"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    sentence = r"p\.csv must be writable; received: No space left on device"
    with pytest.raises(StorageError, match=sentence), atomic.new_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["p.csv"]


def test_other_errors_pass_and_leave_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic.new_file(tmp_path / "p.csv"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_folders_and_missing_parents_are_refused(tmp_path):
    with (
        pytest.raises(StorageError, match="must be the path of a file; it is a folder"),
        atomic.new_file(tmp_path),
    ):
        pass
    sentence = "must be writable; received: No such file or directory"
    with pytest.raises(StorageError, match=sentence), atomic.new_file(tmp_path / "no" / "p.csv"):
        pass
    with pytest.raises(StorageError, match="must be a path"), atomic.new_file("a\0b"):
        pass


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_remains_of_killed_writers_go_and_those_of_running_ones_stay(tmp_path):
    path = tmp_path / "p.csv"
    program = (
        "import os, sys; from bayesian_layers.saving import atomic\n"
        f"with atomic.new_file({str(path)!r}) as file:\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"open\n"
    (tmp_path / f".p.csv.{'0' * 16}.partial").mkdir()  # of a folder of this name, killed long ago
    with atomic.new_file(path):
        pass
    assert len(names(tmp_path)) == 2  # the running writer's is still there
    writer.kill()
    writer.communicate()
    with atomic.new_file(path):
        pass
    assert names(tmp_path) == ["p.csv"]
