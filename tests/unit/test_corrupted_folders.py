"""Corrupted folders of posteriors: refused by our own error, or harmless; no code run, little memory taken."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

import bayesian_layers as bl
from bayesian_layers import saving
from bayesian_layers.data_schema import ArraySchema, DataSchema
from bayesian_layers.errors import DataError, StorageError
from bayesian_layers.saving import architecture, model_card
from bayesian_layers.saving.architecture import known
from bayesian_layers.saving.schema import show

SCRIPTS = Path(__file__).parents[2] / "scripts"


def _import(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corruption = _import("_corruption")
NAMES = [*corruption.posteriors()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("folders") / "model"


@pytest.fixture(scope="module")
def bases(place):
    return corruption.make_bases(place)


@pytest.fixture
def sound(bases, place):
    """The folder of the first posterior, as saved."""
    corruption.put(corruption.Case(dict(bases["mean field"].files)), place)
    return place


def rewrite(folder, change):
    """Change the document, and make the manifest agree."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    document = json.loads(files["posterior.json"])
    change(document)
    files["posterior.json"] = json.dumps(document).encode()
    corruption.seal(files)
    corruption.put(corruption.Case(files), folder)


# --- any corruption -----------------------------------------------------------------------------------------


@pytest.mark.slow
@given(name=st.sampled_from(NAMES), choose=st.randoms(use_true_random=False))
@settings(
    max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_any_corruption_is_refused_or_harmless_or_another_sound_posterior(bases, place, name, choose):
    base = bases[name]
    case = corruption.corrupt(base.files, [each.files for each in bases.values()], choose)
    outcome = corruption.attempt(case, place, base.network, base.whole)
    assert outcome.what != "WRONG", outcome.says


@pytest.mark.parametrize("kind", corruption.KINDS)
def test_each_kind_of_corruption_is_met(bases, place, kind):
    """By a seeded generator, so that no kind is left to luck; what is refused must outweigh what is not."""
    refused = 0
    for i in range(12):
        choose, base = corruption.random.Random(i), bases[NAMES[i % len(NAMES)]]
        case = corruption.Case(dict(base.files))
        corruption.KINDS[kind][1](case, choose, [each.files for each in bases.values()])
        case.sealed = not case.harmless
        if case.sealed:
            corruption.seal(case.files)
        outcome = corruption.attempt(case, place, base.network, base.whole)
        assert outcome.what != "WRONG", outcome.says
        refused += outcome.what == "refused"
    assert refused == 0 if kind == "harmless changes" else refused >= 3


def test_the_trap_of_the_pickles_works():
    code = f"import pickle; pickle.loads({corruption.PICKLE!r})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 66


# --- a list made by hand ------------------------------------------------------------------------------------


def argument(**values):
    return lambda d: d["model"]["network"]["modules"]["children"]["0"]["arguments"].update(values)


def child(module):
    return lambda d: d["model"]["network"]["modules"]["children"].update({"9": module})


def nested(depth):
    return corruption._nested(depth)


# Without parameters, and a gigabyte at the first prediction.
POOL = {
    "class": "torch.nn.Sequential",
    "children": {
        "0": {"class": "torch.nn.Unflatten", "arguments": {"dim": 1, "unflattened_size": [1, 1]}},
        "1": {"class": "torch.nn.AdaptiveAvgPool2d", "arguments": {"output_size": 2**14}},
    },
}

BY_HAND = [
    (lambda d: d.update(version=4), "version 3; received 4"),
    (lambda d: d.update(version="3"), "version 3; received '3'"),
    (lambda d: d.update(version=True), "version 3; received True"),
    (lambda d: d.update(more=1), r"with the fields .*received \[.*'more'"),
    (lambda d: d.pop("versions"), "with the fields"),
    (lambda d: d.update(elbo="high"), "`posterior.elbo` must be a number .*, or null; received 'high'"),
    (lambda d: d.update(elbo=True), "`posterior.elbo`"),
    (lambda d: d.update(elbo=10**400), "more than 64 bits"),
    (lambda d: d.update(kl_weight=-1), "a number from 0 .*, or an object; received -1"),
    (lambda d: d.update(kl_weight={"\x1b[2J": -1}), r"kl_weight\.\\x1b\[2J` must be a number from 0"),
    (lambda d: d.update(converged="yes"), "true or false, or null; received 'yes'"),
    (lambda d: d.update(versions={"torch": 2}), "`posterior.versions.torch` must be a text"),
    (lambda d: d.update(data={"inputs": []}), "`data` must be an object with the fields"),
    (lambda d: d["data"].update(inputs=[]), "one input or more"),
    (lambda d: d["data"]["inputs"][0].update(names=["a"]), "2 entries of the last axis; received 1"),
    (lambda d: d["data"]["inputs"][0].update(shape=[-1]), r"data\.inputs\.0\.shape\.0` must be an integer"),
    (lambda d: d.update(refinement=3), "`posterior.refinement`"),
    (lambda d: d.update(source={"name": "LowRankNormal", "rank": 2**62}), "numbers; stored are"),
    (lambda d: d.update(source={"name": "FullRankNormal"}), "numbers; stored are"),
    (lambda d: d.update(source={"name": "os.system"}), "whose 'name' is one of"),
    (lambda d: d["model"].update(likelihood={"name": "Normal", "noise_scale": True}), "noise_scale` must be"),
    (lambda d: d["model"].update(likelihood={"name": "Normal", "noise_scale": 0}), "a number from 1e-18"),
    (lambda d: d["model"]["network"].update(modules={"class": ["a"]}), "must be one of the known classes"),
    (
        argument(in_features=10**9, out_features=10**9),
        r"of shape \(1000000000, 1000000000\); stored is float",
    ),
    (argument(in_features=2.0), "`in_features` must be an integer"),
    (argument(in_features=0), "`in_features` must be an integer"),
    (argument(bias="no"), "`bias` must be true or false"),
    (argument(device="cuda"), "takes"),
    (child({"class": "os.system", "arguments": {"command": "true"}}), "must be one of the known classes"),
    (child({"class": "torch.nn.Tanh"}), "by its arguments alone"),
    (child({"class": "torch.nn.GroupNorm", "arguments": {"num_groups": 3, "num_channels": 4}}), "cannot be"),
    (child({"class": "torch.nn.BatchNorm1d", "arguments": {"num_features": 3, "eps": "x"}}), "`eps` must be"),
    (child({"class": "torch.nn.GELU", "arguments": {"approximate": "x"}}), "'none' or 'tanh'"),
    (child({"class": "torch.nn.Dropout", "arguments": {"p": 2}}), "cannot be built"),
    (child({"class": "torch.nn.Softplus", "arguments": {"beta": 0}}), "`beta` must be a number from 1e-18"),
    (child({"class": "torch.nn.AdaptiveAvgPool1d", "arguments": {"output_size": 10**9}}), "output_size"),
    (child(POOL), "at most 268435456 bytes"),
    (
        child({"class": "torch.nn.Unflatten", "arguments": {"dim": 1, "unflattened_size": [7]}}),
        "does not take one row",
    ),
    (child({"class": "torch.nn.CELU", "arguments": {"alpha": 0}}), "does not take one row"),
    (lambda d: d["data"]["inputs"][0].update(shape=[10**12]), "at most 268435456 bytes"),
    (lambda d: d["data"]["inputs"][0].update(shape=[3]), "does not take one row"),
    (lambda d: d["data"]["inputs"][0].update(dtype="complex64"), r"inputs\.0\.dtype` must be 'float16'"),
    (lambda d: d.update(kl_weight={"nobody": 1.0}), "names \\['nobody'\\], which are not latent sites"),
    (
        lambda d: d["model"]["network"]["parameters"]["0.bias"]["prior"].update(scale=5e-324),
        r"prior\.scale` must be a number from 1e-18",
    ),
    (child(nested(60)), "nested"),
    (lambda d: d["model"]["network"].update(modules=nested(13)), "parameters"),
    (
        lambda d: d["model"]["network"]["parameters"].update({"x": {"prior": None, "frozen": False}}),
        "this one has",
    ),
    (
        lambda d: d["model"]["network"]["parameters"]["0.bias"].update(prior=[["name", "Normal"]]),
        r"0\.bias\.prior` must be an object whose 'name' is one of",
    ),
    (lambda d: d["model"]["network"]["parameters"]["0.bias"]["prior"].update(scale=1e400), "Infinity"),
    (
        lambda d: d["model"]["network"]["parameters"]["0.bias"]["prior"].update(loc="x"),
        r"0\.bias\.prior\.loc` must be",
    ),
    (
        lambda d: d["model"]["network"]["parameters"]["0.bias"].update(frozen=1),
        r"0\.bias\.frozen` must be true or false",
    ),
]


@pytest.mark.parametrize(("change", "message"), BY_HAND)
def test_documents_made_by_hand(sound, change, message):
    rewrite(sound, change)
    with pytest.raises(StorageError, match=message) as refusal:
        bl.load(sound)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 800


def poke(folder, name, value):
    stored = saving.read_folder(folder)
    arrays = stored.load_arrays(stored.header)
    arrays[name].view(-1)[0] = value
    documents = {"posterior": stored.documents["posterior"]}
    saving.write_folder(folder, arrays, documents)


@pytest.mark.parametrize(
    ("base", "name", "value", "message"),
    [
        ("mean field", "source.log_scale", 1e3, "standard deviations must be above 0 and must not overflow"),
        ("mean field", "source.log_scale", -1e30, "deviations must be above 0"),
        ("mean field", "source.loc", 3e38, "means must be below half of the largest number"),
        ("low rank", "source.factor", 1e30, "factor must not overflow"),
        ("ensemble", "source.log_weight", 0.0, "weights of the ensemble must add up to 1"),
        ("hierarchical", "source.loc", 100.0, "must be positive and finite"),
        ("stored draws", "source.draws_0", -1.0, "must be positive and finite"),
        ("convolutions", "network.1.running_var", -1.0, "must hold variances"),
        ("elementwise", "prior.network.0.weight.scale", 0.0, "deviation"),
    ],
)
def test_finite_numbers_that_no_posterior_has(bases, place, base, name, value, message):
    corruption.put(corruption.Case(dict(bases[base].files)), place)
    poke(place, name, value)
    with pytest.raises(StorageError, match=message):
        bl.load(place)


# --- what is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_posterior_comes_back(bases, name):
    assert bases[name].whole == corruption.identity(corruption.posteriors()[name])


def test_a_network_of_ones_own_must_have_the_names_and_shapes(build, bases, place):
    corruption.put(corruption.Case(dict(bases["own"].files)), place)
    own = build(corruption.Own)
    assert corruption.identity(bl.load(place, own)) == bases["own"].whole
    own.layer = build(lambda: nn.Linear(3, 1))
    with pytest.raises(StorageError, match=r"'layer.weight' has shape \(1, 3\), and \(1, 2\) is stored"):
        bl.load(place, own)
    own.layer = build(lambda: nn.Linear(1, 2, bias=True))
    with pytest.raises(StorageError):
        bl.load(place, own)
    with pytest.raises(StorageError, match=r"'weight' \(1, 2\) is not stored"):
        bl.load(place, build(lambda: nn.Linear(2, 1)))


def test_the_data_schema_is_kept(build, tmp_path):
    posterior = corruption.posteriors()["mean field"]
    x = ArraySchema((2,), "float32", ("age", "income|`"))
    posterior.data_schema = DataSchema((x,), ArraySchema((), "int64"), 20)
    posterior.save(tmp_path / "p")
    assert bl.load(tmp_path / "p").data_schema == posterior.data_schema
    assert "`age, income/'`" in (tmp_path / "p" / "MODEL_CARD.md").read_text()
    assert DataSchema.of((torch.zeros(5, 2), torch.zeros(5, 3, 4)), rows=100).inputs[1].shape == (3, 4)
    with pytest.raises(DataError):
        DataSchema(())


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    posterior = corruption.posteriors()["mean field"]
    posterior.elbo = float("nan")
    with pytest.raises(StorageError, match="elbo"):
        posterior.save(tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_every_argument_of_every_listed_module_has_a_rule():
    for name, kind in known.CLASSES.items():
        if name != "torch.nn.Sequential":
            assert isinstance(known.arguments_of(kind), dict), name  # it says what is missing


def test_described_networks_are_built_without_memory(build):
    network = build(lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.PReLU(), nn.AvgPool1d(2)))
    twin = architecture.build(architecture.describe(network))
    assert all(value.is_meta for value in twin.state_dict().values())


# --- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 500, 5_000, 20_000])
def test_a_folder_beyond_the_limit_is_refused(sound, limit):
    with pytest.raises(StorageError, match=f"into the {limit} bytes .* pass a larger `max_bytes`"):
        bl.load(sound, max_bytes=limit)


@pytest.mark.parametrize("limit", [0, -1, 2.0, True])
def test_a_limit_that_is_none(sound, limit):
    with pytest.raises(DataError, match="max_bytes"):
        bl.load(sound, max_bytes=limit)


BOMBS = """
import json, sys
sys.path.insert(0, {scripts!r})
import torch
import _corruption as c
import bayesian_layers as bl
from pathlib import Path
from torch import nn

torch.set_num_threads(1)
folder = Path({folder!r})
bases = c.make_bases(folder)
base, watch = bases["mean field"], c.Watch()
document = json.loads(base.files[c.DOCUMENT])

def with_document(**changes):
    files = {{**base.files, c.DOCUMENT: c._dump({{**document, **changes}})}}
    c.seal(files)
    return c.Case(files, sealed=True)

def with_network(network):
    return with_document(
        model={{**document["model"], "network": {{**document["model"]["network"], "modules": network}}}}
    )

def with_header(text, size=0):
    files = {{**base.files, c.ARRAYS: len(text).to_bytes(8, "little") + text + bytes(size)}}
    c.seal(files)
    return c.Case(files, sealed=True)

def sparse(files):
    def make(path):
        with path.open("wb") as file:
            file.truncate(2**40)
    manifest = json.loads(files[c.MANIFEST])
    manifest["files"][c.ARRAYS]["bytes"] = 2**40
    return c.Case({{**files, c.MANIFEST: c._dump(manifest)}}, sealed=True, special={{c.ARRAYS: make}})

def many(count):
    return {{"class": "torch.nn.Sequential",
             "children": {{str(i): {{"class": "torch.nn.Tanh", "arguments": {{}}}} for i in range(count)}}}}

entry = {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
wide = bl.BayesianModel(nn.Sequential(bl.Linear(2000, 1)))
bl.Posterior.from_guide(wide, bl.guides.MeanFieldNormal(wide)).save(folder)
full = {{path.name: path.read_bytes() for path in folder.iterdir()}}
full[c.DOCUMENT] = full[c.DOCUMENT].replace(b"MeanFieldNormal", b"FullRankNormal")  # 16 MB that are not stored
c.seal(full)
cases = {{
    "values": with_document(versions={{"a": [[]] * 190_000}}),
    "texts": with_document(versions={{str(i): "x" for i in range(45_000)}}),
    "long": with_document(versions={{"a": "x" * (7 * 2**20)}}),
    "modules": with_network(many(9_000)),
    "deep": with_network(c._nested(14)),
    "wide": with_network(c._module("torch.nn.Linear", in_features=10**9, out_features=10**9)),
    "entries": with_header(json.dumps({{str(i): entry for i in range(20_000)}}).encode()),
    "length": with_header(b"{{" + b" " * (7 * 2**20) + b"}}"),
    "draws": with_document(source={{"name": "StoredDraws", "draws": 2**39}}),
    "members": with_document(source={{"name": "Ensemble", "members": 2**19, "weights": "equal"}}),
    "full rank": c.Case(full, sealed=True),
    "sparse": sparse(base.files),
    "pool": with_network({pool!r}),
}}
for i in range(60):  # what is imported and kept on first use
    c.attempt(c.corrupt(base.files, [base.files], c.random.Random(i)), folder, None, base.whole)
found = {{}}
for name, case in cases.items():
    c.put(case, folder)
    case.files.clear()
    before = c.mark()
    try:
        with watch.over(folder):
            bl.load(folder, max_bytes=c.LIMIT)
        says = "loaded"
    except bl.errors.StorageError as error:
        says = "StorageError: " + str(error)[:200]
    found[name] = [says, c.peak() - before, watch.seen[:]]
    watch.seen.clear()
layer = bl.BayesianModel(bl.Linear(500, 1000))
bl.Posterior.from_guide(layer, bl.guides.MeanFieldNormal(layer)).save(folder)  # 6 MB of arrays
before = c.mark()
bl.load(folder, max_bytes=12 * 2**20)
found["honest"] = ["loaded", c.peak() - before, []]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_bombs_take_little_memory_and_run_nothing(tmp_path):
    """In a process of its own, whose peak memory and audit events are seen."""
    script = BOMBS.format(scripts=str(SCRIPTS), folder=str(tmp_path / "model"), pool=POOL)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    honest = found.pop("honest")
    assert honest[1] <= 2 * 12 * 2**20, honest
    for name, (says, grown, seen) in found.items():
        assert says.startswith("StorageError"), (name, says)
        assert grown <= 2 * corruption.LIMIT, (name, grown)
        assert seen == [], name


# --- the model card -----------------------------------------------------------------------------------------


def test_the_card_says_what_the_posterior_is(tmp_path):
    posterior = corruption.posteriors()["low rank"]
    posterior.save(tmp_path / "p", extra_documents={"table": {"a": 1}})
    card = (tmp_path / "p" / "MODEL_CARD.md").read_text()
    for words in (
        "| `0` | `Linear` | `in_features=2, out_features=3, bias=True` |",
        "| `0.weight` | `3 x 2` | `Normal(loc=0.0, scale=1.0)` |",
        "| `2.bias` | `1` | `none: a point estimate` |",
        "13 numbers in all.",
        "`Bernoulli()`",
        "`LowRankNormal(rank=2)`",
        "**tempered**",
        "convergence was not tested",
        "`table.json`",
        'bl.load("this folder")',
        f"| `torch` | `{torch.__version__}` |",
    ):
        assert words in card, words


def test_the_card_is_a_pure_function_of_facts_and_shows_nothing_but_text():
    document = {
        "model": {
            "network": {
                "modules": None,
                "parameters": {"a|`\n# b<i>": {"prior": None, "frozen": True}},
            },
            "likelihood": {"name": "Normal", "noise_scale": {"name": "LogNormal", "loc": 0.0, "scale": 1.0}},
        },
        "source": {"name": "MeanFieldNormal"},
        "elbo": -12.25,
        "kl_weight": {"a": 0.5},
        "converged": False,
        "data": None,
        "versions": {},
        "refinement": {"iterations": 3},
    }
    card = model_card.write(document, {"a|`\n# b<i>": (2, 3)})
    assert "| `a/' # b<i>` | `2 x 3` | `frozen` |" in card
    assert "\n# b" not in card
    for words in ("-12.25 nats", "did not converge", "network=network", "refined", "LogNormal("):
        assert words in card, words
    assert card == model_card.write(document, {"a|`\n# b<i>": (2, 3)})


def test_the_card_is_never_read_and_is_written_anew(bases, sound):
    card = sound / "MODEL_CARD.md"
    first = card.read_text()
    for make in (lambda: card.write_text("mine"), card.unlink, lambda: os.mkfifo(card)):
        make()
        posterior = bl.load(sound)
        assert corruption.identity(posterior) == bases["mean field"].whole
    posterior.save(sound)
    assert card.read_text() == first
    assert [path.name for path in sound.parent.iterdir() if path.name.startswith(".")] == []


def test_a_foreign_card_is_not_overwritten(sound):
    files = json.loads((sound / "manifest.json").read_text())
    del files["files"]["MODEL_CARD.md"]
    (sound / "manifest.json").write_text(json.dumps(files))
    with pytest.raises(StorageError, match=r"MODEL_CARD\.md must be absent"):
        bl.load(sound).save(sound)


@pytest.mark.parametrize(
    ("value", "text"), [("\x1b[2J", r"'\x1b[2J'"), ("é", r"'\xe9'"), ([1] * 9, "[1, 1, 1")]
)
def test_what_came_is_shown_short_and_escaped(value, text):
    assert show(value).startswith(text)
    assert len(show(["x" * 10**6] * 10**4)) < 200
