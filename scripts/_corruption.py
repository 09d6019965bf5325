"""Corrupted folders of posteriors: how they are made, and what loading one may do.

Used by `fuzz_files.py` and by the property test of the files.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.data_schema import DataSchema
from bayesian_layers.errors import StorageError
from bayesian_layers.noise import seeded
from bayesian_layers.refinement import Refinement

MANIFEST, ARRAYS, DOCUMENT, CARD = "manifest.json", "arrays.safetensors", "posterior.json", "MODEL_CARD.md"
LIMIT = 8 * 2**20  # `max_bytes` of each attempt

Files = dict[str, bytes]


class Own(nn.Module):
    """A network that no file describes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = bl.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs to outputs.

        Args:
            x: Inputs, ``(N, 2)``.

        Returns:
            Outputs, ``(N, 1)``.
        """
        return 2 * self.layer(x)


class Bytes(random.Random):
    """Random choices that a fuzzer's bytes make; after the last byte all choices are the first."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def getrandbits(self, k: int) -> int:
        """Give the next bits.

        Args:
            k: How many.

        Returns:
            A number of as many bits.
        """
        size = (k + 7) // 8
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """Give a number below 1.

        Returns:
            The number.
        """
        return self.getrandbits(32) / 2**32


def posteriors() -> dict[str, bl.Posterior]:
    """Make one small posterior of each kind.

    Returns:
        Name to posterior.
    """
    normal, log_normal = bl.priors.Normal, bl.priors.LogNormal
    with seeded(0):
        dense = nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1, bias_prior=None))
        deep = nn.Sequential(
            bl.Linear(2, 3, prior=normal(scale="learned")),
            nn.Sequential(nn.LayerNorm(3), nn.GELU("tanh")),
            bl.Linear(3, 2, prior=bl.priors.HierarchicalNormal()),
        )
        images = nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        )
        models = {
            "mean field": bl.BayesianModel(dense, bl.likelihoods.Bernoulli()),
            "convolutions": bl.BayesianModel(
                bl.bayesianize(images, prior=normal(scale="fan_in")), bl.likelihoods.Categorical()
            ),
            "hierarchical": bl.BayesianModel(deep, bl.likelihoods.Normal(log_normal(-1.0, 0.5))),
            "own": bl.BayesianModel(Own(), bl.likelihoods.Normal("learned")),
        }
    guides = {name: bl.guides.MeanFieldNormal(model) for name, model in models.items()}
    take = bl.Posterior.from_guide
    found = {name: take(models[name], guide, elbo=-3.5, converged=True) for name, guide in guides.items()}
    model = models["mean field"]
    found["low rank"] = take(model, bl.guides.LowRankNormal(model, rank=2), kl_weight=0.5)
    found["full rank"] = take(model, bl.guides.FullRankNormal(model), kl_weight={"0.weight": 0.5})
    found["ensemble"] = take(model, bl.guides.Ensemble(model, members=3), converged=False)
    found["stored draws"] = bl.Posterior.from_samples(models["hierarchical"], found["hierarchical"].sample(4))
    found["stored draws"].refinement = Refinement(
        60, 2.5, 4, 8, 0.1, 0.8, None, 1.02, 90.0, 0.0, ("mind this",)
    )
    today = bl.BayesianModel(bl.priors.from_posterior(found["mean field"]), bl.likelihoods.Bernoulli())
    found["elementwise"] = take(today, bl.guides.MeanFieldNormal(today))
    found["mean field"].data_schema = DataSchema.of(torch.zeros(20, 2), torch.zeros(20))
    return found


def identity(posterior: bl.Posterior) -> str:
    """Reduce all that a posterior consists of to a hash.

    Args:
        posterior: The posterior.

    Returns:
        Equal for equal ones.
    """
    digest = hashlib.sha256()
    states = (posterior.model.network.state_dict(), posterior.source.state_dict())
    for name, value in [item for state in states for item in state.items()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    sites = {name: (site.prior, site.positive) for name, site in posterior.model.sites().items()}
    facts = (
        posterior.elbo,
        posterior.kl_weight,
        posterior.converged,
        posterior.data_schema,
        posterior.refinement,
    )
    digest.update(repr((posterior.model.spec(), sites, facts)).encode())
    return digest.hexdigest()


@dataclass
class Case:
    """A folder to load.

    Attributes:
        files: Name to content.
        kind: How it was corrupted.
        harmless: Whether the posterior must come out as it was.
        sealed: Whether the manifest was made to agree, so that the hashes do not show the damage.
        special: Name to how something else than a file is put in its place.
    """

    files: Files
    kind: str = ""
    harmless: bool = False
    sealed: bool = False
    special: dict[str, Callable[[Path], object]] = field(default_factory=dict)


def seal(files: Files) -> None:
    """Make the manifest agree with the other files, where it is still one.

    Args:
        files: Written to.
    """
    try:
        manifest = json.loads(files[MANIFEST])
        for name, listed in manifest["files"].items():
            content = files.get(name, b"")
            listed.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        files[MANIFEST] = json.dumps(manifest).encode()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return


class _Trap:
    """Unpickling it ends the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (66,)


def _nested(depth: int) -> Any:
    module: Any = {"class": "torch.nn.Tanh", "arguments": {}}
    for _ in range(depth):
        module = {"class": "torch.nn.Sequential", "children": {"0": module}}
    return module


def _module(name: str, **arguments: Any) -> Any:
    return {"class": name, "arguments": arguments}


PICKLE = pickle.dumps({"loc": _Trap()})
_LOG_NORMAL = {"name": "LogNormal", "loc": 0.0, "scale": 1.0}
HOSTILE: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        2**31,
        2**62,
        2**63,
        2**64,
        10**30,
        10**400,
        -(2**63),
        0.5,
        -0.5,
        1e-320,
    ),
    *(
        1e300,
        -1e300,
        float("nan"),
        float("inf"),
        "",
        "x",
        "learned",
        "os.system",
        "../../etc/passwd",
        "\x1b[2J\n",
    ),
    *("\ud800", "é" * 3000, [], {}, [[]], [0] * 3000, {"a": {"b": {}}}, [{"name": "x"}], ["learned"], [1, 2]),
    *(_LOG_NORMAL, {**_LOG_NORMAL, "scale": _LOG_NORMAL}, {"name": "Normal", "loc": 0.0, "scale": "fan_in"}),
    *({"name": "ElementwiseNormal"}, {"name": "HierarchicalNormal", "loc": 0, "scale": _LOG_NORMAL}),
    *(
        {"name": "FullRankNormal"},
        {"name": "LowRankNormal", "rank": 2**40},
        {"name": "StoredDraws", "draws": 2**39},
    ),
    *(
        {"name": "Ensemble", "members": 2**19, "weights": "equal"},
        {"name": "Normal", "noise_scale": _LOG_NORMAL},
    ),
    *(_nested(10), _nested(60), {"class": "os.system", "arguments": {"command": "true"}}),
    {"class": "torch.nn.Sequential", "children": {str(i): _module("torch.nn.Tanh") for i in range(3000)}},
    *(
        _module("torch.nn.Linear", in_features=n, out_features=n)
        for n in (0, 2, 3, 10**9, 2**31 - 1, -1, True, "2")
    ),
    *(_module("torch.nn.GroupNorm", num_groups=n, num_channels=4) for n in (0, 1, 3)),
    *(_module("torch.nn.LayerNorm", normalized_shape=n) for n in ([], [10**9] * 7, [-1], 3, ["a"])),
    *(_module("torch.nn.Dropout", p=p) for p in (2, -1, "x", None)),
    _module("torch.nn.Conv2d", in_channels=1, out_channels=2, kernel_size=[3] * 9, padding="same", groups=0),
    _module("torch.nn.Conv2d", in_channels=10**9, out_channels=10**9, kernel_size=10**9),
    *(
        _module("torch.nn.Unflatten", dim=d, unflattened_size=s)
        for d, s in ((1, []), ("a", [2]), (1, [-1, -1]))
    ),
    _module("torch.nn.BatchNorm1d", num_features=3, eps="x"),
    _module("torch.nn.GELU", approximate="__import__('os')"),
]


def _hostile(choose: random.Random) -> Any:
    return copy.deepcopy(choose.choice(HOSTILE))  # it may be changed further


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _change(document: Any, choose: random.Random) -> None:
    """Change a document somewhere."""
    inside, key = choose.choice(list(_places(document)))
    how = choose.randrange(8)
    if how < 4:
        inside[key] = _hostile(choose)
    elif how == 4:
        del inside[key]
    elif how == 5:
        other, there = choose.choice(list(_places(document)))
        inside[key] = json.loads(json.dumps(other[there]))
    elif isinstance(inside, dict):
        name = choose.choice(
            ["x", "", "name", "class", "0.weight", "a.b", "__class__", "forward", "\x1b[2J", "f"]
        )
        inside[name] = inside.pop(key) if how == 6 else _hostile(choose)
    else:
        inside.insert(0, _hostile(choose))


def _values(case: Case, choose: random.Random, _: list[Files]) -> None:
    document = json.loads(case.files[DOCUMENT])
    for _i in range(choose.choice([1, 1, 1, 2, 3])):
        _change(document, choose)
    case.files[DOCUMENT] = _dump(document)


def _modules(case: Case, choose: random.Random, _: list[Files]) -> None:
    """Aim at the description of the network."""
    document = json.loads(case.files[DOCUMENT])
    network = document["model"]["network"]
    if network["modules"] is None or choose.randrange(4) == 0:
        network["modules"] = _hostile(choose)
    else:
        _change(network["modules"], choose)
    case.files[DOCUMENT] = _dump(document)


def _text(case: Case, choose: random.Random, _: list[Files]) -> None:
    """Make JSON that a lenient parser would take."""
    name = choose.choice([DOCUMENT, DOCUMENT, MANIFEST])
    text = case.files[name].decode()
    tricks: list[Callable[[], bytes]] = [
        lambda: (text.rstrip()[:-1] + ', "source": {}, "source": {}}').encode(),
        lambda: text.replace(":", ": NaN, ", 1).encode(),
        lambda: text.replace(
            "1", choose.choice(["NaN", "-Infinity", "1e999", "0x1", "1_0", "9" * 5000])
        ).encode(),
        lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: text.encode(choose.choice(["utf-16", "utf-32", "utf-16-le"])),
        lambda: text.encode() + choose.choice([b"\0", b"{}", b"//", b"\xff", b"\x1b"]),
        lambda: (b'{"a":' * 3000) + b"1" + b"}" * 3000,
        lambda: b"[" * choose.choice([33, 5000, 250_000]),
        lambda: b'{"a": "' + b"\\u0000" * 9000 + b'"}',
        lambda: text.replace("}", ",}", 1).encode(),
        lambda: text.replace('"', "'").encode(),
        lambda: b"null",
        lambda: b"",
    ]
    case.files[name] = choose.choice(tricks)()


def _bytes(case: Case, choose: random.Random, _: list[Files]) -> None:
    name = choose.choice([ARRAYS, ARRAYS, DOCUMENT, MANIFEST])
    data = bytearray(case.files[name])
    for _i in range(choose.choice([1, 1, 2, 4])):
        at, size = choose.randrange(len(data) + 1), choose.choice([1, 1, 2, 8, 64])
        how = choose.randrange(6)
        if how < 2 and at < len(data):
            data[at] ^= 1 << choose.randrange(8)
        elif how == 2:
            data[at : at + size] = choose.randbytes(size)
        elif how == 3:
            del data[at : at + size]
        elif how == 4:
            data[at:at] = data[:size]
        else:
            del data[at:]
    case.files[name] = bytes(data)


def _header(case: Case, choose: random.Random, _: list[Files]) -> None:
    data = case.files[ARRAYS]
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    names = [name for name in header if name != "__metadata__"]
    name, other = choose.choice(names), choose.choice(names)
    entry = header[name]
    how = choose.randrange(9)
    if how == 0:
        entry["shape"] = choose.choice(
            [[10**9], [2**40, 2**40], [0], [-1], [2**63, 0], [1] * 70, "x", [1.0], [True]]
        )
    elif how == 1:
        entry["dtype"] = choose.choice(["F64", "F16", "BOOL", "I64", "C64", "F8_E4M3", "", None, 3, ["F32"]])
    elif how == 2:
        numbers = [0, 1, -4, 8, 2**40, 2**63, 10**30, *entry["data_offsets"]]
        entry["data_offsets"] = [choose.choice(numbers), choose.choice(numbers)]
    elif how == 3:
        entry["data_offsets"], header[other]["data_offsets"] = (
            header[other]["data_offsets"],
            entry["data_offsets"],
        )
    elif how == 4:
        header[name], header[other] = header[other], entry
    elif how == 5:
        header[choose.choice(["network.x", "../x", "", "source.loc", "\x1b[2J"])] = header.pop(name)
    elif how == 6:
        entry["shape"] = entry["shape"][::-1] + [1] * choose.randrange(2)
    elif how == 7:
        header["__metadata__"] = choose.choice([{"a": "b"}, {"a": 1}, 3, [], _hostile(choose)])
    else:
        _change(header, choose)
    text = _dump(header)
    length = choose.choice([len(text)] * 6 + [0, 2**63, 2**64 - 1, len(data), 9 * 2**20])
    case.files[ARRAYS] = length.to_bytes(8, "little") + text + data[end:]


def _numbers(case: Case, choose: random.Random, _: list[Files]) -> None:
    """Put numbers into the arrays that no fit leaves there."""
    data = bytearray(case.files[ARRAYS])
    end = 8 + int.from_bytes(data[:8], "little")
    floats = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e3, -1e3, 1e-45, 0.0, -1.0, 100.0]
    for _i in range(choose.choice([1, 1, 3])):
        at = end + 4 * choose.randrange((len(data) - end) // 4)
        data[at : at + 4] = torch.tensor(choose.choice(floats)).numpy().tobytes()
    case.files[ARRAYS] = bytes(data)


def _manifest(case: Case, choose: random.Random, _: list[Files]) -> None:
    manifest = json.loads(case.files[MANIFEST])
    if choose.randrange(2):
        _change(manifest, choose)
    else:
        name = choose.choice(
            ["../x.json", "/etc/passwd", "x.pkl", "absent.json", "X.md", "a\0b.json", "manifest.json"]
        )
        manifest["files"][name] = copy.deepcopy(choose.choice([*manifest["files"].values(), *HOSTILE]))
    case.files[MANIFEST] = _dump(manifest)


def _others(case: Case, choose: random.Random, bases: list[Files]) -> None:
    """Mix the files of two posteriors, or of one."""
    other = choose.choice(bases)
    name, source = choose.choice([ARRAYS, DOCUMENT]), choose.choice([ARRAYS, DOCUMENT, MANIFEST, CARD])
    case.files[name] = choose.choice(
        [other[name], case.files[source], PICKLE, b"PK\x03\x04" + PICKLE, b"", b"\0" * 99]
    )


def _things(case: Case, choose: random.Random, _: list[Files]) -> None:
    """Put something else into a file's place."""
    name = choose.choice([ARRAYS, DOCUMENT, MANIFEST])
    content = case.files[name]

    def linked(path: Path) -> None:
        target = path.parent.parent / "outside"
        target.write_bytes(content)
        path.symlink_to(target)

    ways: list[Callable[[Path], object]] = [
        linked,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/etc/passwd"),
        Path.mkdir,
        os.mkfifo,
        Path.exists,  # and nothing in it
    ]
    case.special[name] = choose.choice(ways)


def _harmless(case: Case, choose: random.Random, _: list[Files]) -> None:
    case.harmless = True
    how = choose.randrange(4)
    if how == 0:
        case.files[CARD] = choose.choice([b"", b"\xff\xfe", PICKLE, b"my own words"])
    elif how == 1:
        case.special[CARD] = choose.choice(
            [os.mkfifo, Path.exists, lambda path: path.symlink_to("/dev/zero")]
        )
    elif how == 2:
        case.files[choose.choice(["notes.txt", "evil.pkl", "evil.json", "pytorch_model.bin", "setup.py"])] = (
            PICKLE
        )
    else:
        case.files[MANIFEST] = json.dumps(
            json.loads(case.files[MANIFEST]), indent=choose.randrange(9)
        ).encode()


KINDS: dict[str, tuple[int, Callable[[Case, random.Random, list[Files]], None]]] = {
    "values of the document": (5, _values),
    "description of the network": (4, _modules),
    "text of a document": (2, _text),
    "bytes": (4, _bytes),
    "header of the arrays": (4, _header),
    "numbers in the arrays": (2, _numbers),
    "manifest": (2, _manifest),
    "files of another kind": (2, _others),
    "links, pipes, folders, gaps": (1, _things),
    "harmless changes": (1, _harmless),
}
_DRAWN = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]


def corrupt(base: Files, bases: list[Files], choose: random.Random) -> Case:
    """Corrupt a folder in one or two ways.

    Args:
        base: The files of a posterior; they are only read.
        bases: Those of others, to take files from.
        choose: Makes all choices.

    Returns:
        The folder.
    """
    case = Case(dict(base))
    case.kind = choose.choice(_DRAWN)
    try:
        KINDS[case.kind][1](case, choose, bases)
        if not case.harmless and choose.randrange(8) == 0:
            KINDS[choose.choice(_DRAWN[:-1])][1](case, choose, bases)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # the second way met the ruins of the first
    case.sealed = not case.harmless and choose.randrange(8) > 0
    if case.sealed:
        seal(case.files)
    return case


def put(case: Case, folder: Path) -> None:
    """Write a folder, in the place of another.

    Args:
        case: The folder.
        folder: Where.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in case.files.items():
        if name in case.special:
            case.special[name](folder / name)
        else:
            (folder / name).write_bytes(content)


_FORBIDDEN = (
    "exec",
    "compile",
    "import",
    "pickle.",
    "marshal.",
    "os.system",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
)
_FORBIDDEN += (
    "subprocess.",
    "socket.",
    "ctypes.",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.chmod",
    "os.link",
)
_FORBIDDEN += ("os.symlink", "os.fork", "os.rmdir", "shutil.", "webbrowser.", "urllib.", "code.", "os.putenv")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Sees by the interpreter's own audit events whether code is run or a file is written; cannot be removed."""

    def __init__(self) -> None:
        self.active: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active is None:
            return
        if event == "open":
            path, flags = arguments[0], arguments[2]
            if flags & _WRITES or not str(path).startswith(str(self.active)):
                self.seen.append(f"open {path!r} {flags}")
        elif event.startswith(_FORBIDDEN):
            self.seen.append(f"{event} {str(arguments)[:100]}")

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Watch the inside of a ``with``.

        Args:
            folder: The only place that may be read.

        Yields:
            Nothing.
        """
        self.active = folder
        try:
            yield
        finally:
            self.active = None


@dataclass
class Outcome:
    """What came of an attempt to load a folder.

    Attributes:
        what: "refused", "the same posterior", "another sound posterior" or "WRONG".
        where: Function that refused it.
        says: The refusal, or what is wrong.
    """

    what: str
    where: str = ""
    says: str = ""


def attempt(
    case: Case, folder: Path, network: nn.Module | None, whole: str, watch: Watch | None = None
) -> Outcome:
    """Load a corrupted folder and judge what comes.

    Args:
        case: The folder, which is put there.
        folder: Where.
        network: Needed where the folder does not describe its network.
        whole: The :func:`identity` of the posterior before.
        watch: Sees whether code is run, where there is one.

    Returns:
        The outcome.
    """
    put(case, folder)
    try:
        if watch is None:
            posterior = bl.load(folder, network, max_bytes=LIMIT)
        else:
            with watch.over(folder):
                posterior = bl.load(folder, network, max_bytes=LIMIT)
    except StorageError as error:
        return _judge_refusal(case, error, folder)
    except BaseException as error:
        return Outcome("WRONG", says=f"{case.kind}: {''.join(traceback.format_exception(error))[-3000:]}")
    finally:
        seen = [] if watch is None else [*watch.seen]
        if watch is not None:
            watch.seen.clear()
    if seen:
        return Outcome("WRONG", says=f"{case.kind}: loading did {seen}")
    return _judge(case, posterior, whole)


def _judge_refusal(case: Case, error: StorageError, folder: Path) -> Outcome:
    text = str(error).replace(str(folder), "FOLDER")
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    code = None if step is None else step.tb_frame.f_code
    where = "" if code is None else f"{Path(code.co_filename).stem}.{code.co_name}"
    if case.harmless:
        return Outcome("WRONG", where, f"refused, though harmless: {text}")
    if len(text) > 1000 or not text.isprintable():
        return Outcome(
            "WRONG", where, f"a refusal that is too long, or holds control characters: {text[:2000]!r}"
        )
    return Outcome("refused", where, text)


def _judge(case: Case, posterior: bl.Posterior, whole: str) -> Outcome:
    if identity(posterior) == whole:
        return Outcome("the same posterior")
    if case.harmless or not case.sealed:
        return Outcome(
            "WRONG", says=f"{case.kind}: another posterior, though the hashes were not made to agree"
        )
    try:
        draws = posterior.sample(3)
    except Exception as error:
        return Outcome("WRONG", says=f"{case.kind}: loaded, but cannot be drawn from: {error!r}")
    sites = posterior.model.sites()
    for name, value in draws.items():
        if not torch.isfinite(value).all() or (sites[name].positive and not (value > 0).all()):
            return Outcome(
                "WRONG", says=f"{case.kind}: loaded, but `{name}` draws {value.flatten()[:5].tolist()}"
            )
    return Outcome("another sound posterior")


@dataclass
class Base:
    """A sound folder to corrupt.

    Attributes:
        files: Its files.
        network: Needed where they do not describe the network.
        whole: The identity of its posterior.
    """

    files: Files
    network: nn.Module | None
    whole: str


def make_bases(folder: Path) -> dict[str, Base]:
    """Save one posterior of each kind.

    Args:
        folder: For the time of the saving.

    Returns:
        Name to sound folder.
    """
    found = {}
    for name, posterior in posteriors().items():
        posterior.save(folder)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        with seeded(1):
            network = Own() if name == "own" else None
        found[name] = Base(files, network, identity(bl.load(folder, network, max_bytes=LIMIT)))
        shutil.rmtree(folder)
    return found


def sizes(bases: Mapping[str, Base]) -> dict[str, int]:
    """Give the sizes of sound folders.

    Args:
        bases: The folders.

    Returns:
        Name to bytes.
    """
    return {name: sum(map(len, base.files.values())) for name, base in bases.items()}


_STATUS = Path("/proc/self/status")


def mark() -> int:
    """Let the peak begin anew, where the system can.

    Returns:
        Bytes that are resident now.
    """
    if not _STATUS.exists():
        return peak()
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Tell the largest resident memory that the process has had since :func:`mark`.

    Returns:
        Bytes.
    """
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
