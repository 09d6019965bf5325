"""All groups with names of dimensions and coordinates, files, and pictures, under ArviZ 0.23 and 1.x alike."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bayesian_layers" / "inference_data" / "__init__.py"
SPEC = importlib.util.spec_from_file_location("containers_under_test", SOURCE)
subject = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = subject  # where its own relative imports look
SPEC.loader.exec_module(subject)

DRAWS, PRIOR_DRAWS, ROWS = 60, 40, 7
OF_SITES = {"0.weight": ["0_output", "0_input"], "0.bias": ["0_output"]}
OF_TARGETS = {"y": ["row", "target"]}


def arrays():
    rng = np.random.default_rng(0)

    def sites(size):
        return {
            "0.weight": rng.normal(size=(size, 4, 2)).astype(np.float32),
            "0.bias": rng.normal(size=(size, 4)),
            "noise_scale": rng.gamma(2.0, size=size),
        }

    return {
        "posterior": sites(DRAWS),
        "posterior_predictive": {"y": rng.normal(size=(DRAWS, ROWS, 3))},
        "prior": sites(PRIOR_DRAWS),
        "prior_predictive": {"y": rng.normal(size=(PRIOR_DRAWS, ROWS, 3))},
        "log_likelihood": {"y": rng.normal(size=(DRAWS, ROWS))},
        "sample_stats": {"lp": rng.normal(size=DRAWS), "log_weight": rng.normal(size=DRAWS)},
        "observed_data": {"y": rng.normal(size=(ROWS, 3))},
        "constant_data": {"x": rng.normal(size=(ROWS, 2))},
    }


DIMS = {
    "posterior": OF_SITES,
    "prior": OF_SITES,
    "posterior_predictive": OF_TARGETS,
    "prior_predictive": OF_TARGETS,
    "log_likelihood": {"y": ["row"]},
    "observed_data": OF_TARGETS,
    "constant_data": {"x": ["row", "input"]},
}
COORDS = {"0_input": ["age", "größe"], "input": ["age", "größe"], "target": [10, 20, 30]}
ATTRS = {"seed": 3, "elbo": -12.5, "k_hat": float("inf"), "network": "Linear(2, 4)\n"}
FACTS = {"sample_stats": {"elbo": -12.5, "k_hat": 0.75}}


@pytest.fixture
def groups():
    return arrays()


def build(groups, **changes):
    rest = {name: held for name, held in groups.items() if name != "posterior"}
    options = {"dims": DIMS, "coords": COORDS, "attrs": ATTRS, "group_attrs": FACTS} | changes
    return subject.from_arrays(groups["posterior"], **rest, **options)


def group_names(container):
    names = container.groups() if callable(container.groups) else container.groups
    return {name.strip("/") for name in names} - {""}


def assert_whole(container, groups):
    """Everything that was given, and nothing else; the same words for both of ArviZ's worlds."""
    assert group_names(container) == set(groups)
    for group, held in groups.items():
        found = container[group]
        is_data = group.endswith("_data")
        assert set(found.data_vars) == set(held)
        for name, array in held.items():
            values = found[name].values
            np.testing.assert_array_equal(values if is_data else values[0], array)
            assert values.dtype == array.dtype
            sample = () if is_data else ("chain", "draw")
            assert found[name].dims == (*sample, *DIMS.get(group, {}).get(name, []))
        for dim in set(found.sizes):
            expected = COORDS.get(dim, range(found.sizes[dim]))
            assert list(found[dim].values) == list(expected)
        assert set(found.coords) == set(found.sizes)
    assert {name: container.attrs[name] for name in ATTRS} == ATTRS
    assert container["sample_stats"].attrs["elbo"] == -12.5
    assert container["sample_stats"].attrs["k_hat"] == 0.75
    assert "elbo" not in container["posterior"].attrs


class TestGroups:
    def test_all_are_there_with_their_names(self, groups):
        assert_whole(build(groups), groups)

    def test_an_input_is_chosen_by_its_name(self, groups):
        container = build(groups)
        weights = container["posterior"]["0.weight"].sel({"0_input": "age", "0_output": 3})
        np.testing.assert_array_equal(weights.values[0], groups["posterior"]["0.weight"][:, 3, 0])

    def test_axes_of_one_name_are_one_axis(self, groups):
        """xarray lines a layer's weight and bias up by itself."""
        posterior = build(groups)["posterior"]
        total = posterior["0.weight"].sum("0_input") + posterior["0.bias"]
        expected = groups["posterior"]["0.weight"].sum(-1) + groups["posterior"]["0.bias"]
        assert total.dims == ("chain", "draw", "0_output")
        np.testing.assert_allclose(total.values[0], expected, rtol=1e-6)

    def test_a_dimension_named_like_a_variable_is_renamed_with_its_coordinates(self, groups):
        groups["constant_data"]["input"] = np.arange(5.0)
        container = build(groups)
        np.testing.assert_array_equal(container["constant_data"]["input"].values, np.arange(5.0))
        assert container["constant_data"]["x"].dims == ("row", "input_")
        assert list(container["constant_data"]["input_"].values) == ["age", "größe"]

    @pytest.mark.parametrize(
        "dims",
        [
            {"posterior": {"0.weight": ["0_output"]}},
            {"posterior": {"0.weight": ["a", "a"]}},
            {"posterior": {"0.weight": ["draw", "a"]}},
            {"posterior": {"0.weight": ["a", "b", "c"]}},
        ],
    )
    def test_names_that_do_not_fit_are_refused(self, groups, dims):
        with pytest.raises(ValueError, match=r"posterior\['0.weight'\] needs a different name"):
            build(groups, dims=dims)

    def test_one_name_for_two_sizes_is_refused(self, groups):
        with pytest.raises(ValueError, match=r"'a' of .* has 2 entries; another array"):
            build(
                groups,
                dims={"posterior": {"0.weight": ["b", "a"], "0.bias": ["a"]}},
                coords={"a": [1] * 4},
            )
        with pytest.raises(ValueError, match="has 4 entries; another array"):
            build(groups, dims={"posterior": {"0.weight": ["b", "a"], "0.bias": ["a"]}}, coords={})

    def test_coordinates_of_another_length_are_refused(self, groups):
        with pytest.raises(ValueError, match=r"'0_input' .* has 2 entries"):
            build(groups, coords={"0_input": ["age"]})

    def test_the_prior_has_its_own_number_of_draws(self, groups):
        groups["prior"]["0.bias"] = np.zeros((PRIOR_DRAWS + 1, 4))
        with pytest.raises(ValueError, match="same number of draws: prior"):
            build(groups)

    def test_draws_of_the_prior_predictive_have_the_targets_rows(self, groups):
        groups["prior_predictive"]["y"] = np.zeros((PRIOR_DRAWS, ROWS + 1, 3))
        with pytest.raises(ValueError, match=r"prior_predictive\['y'\] has shape"):
            build(groups)

    def test_a_statistic_of_another_number_of_draws_is_refused(self, groups):
        groups["sample_stats"]["lp"] = np.zeros(DRAWS - 1)
        with pytest.raises(ValueError, match=r"sample_stats\['lp'\] has shape"):
            build(groups)

    def test_a_single_number_is_kept(self):
        container = subject.from_arrays({"w": np.zeros(3)}, constant_data={"n": np.array(4)})
        assert container["constant_data"]["n"].values.tolist() == [4]


def is_before_1():
    import arviz

    return int(arviz.__version__.split(".")[0]) < 1


class TestFiles:
    def test_netcdf(self, groups, tmp_path):
        import arviz

        path = str(tmp_path / "fit.nc")
        build(groups).to_netcdf(path, engine="h5netcdf")
        with warnings.catch_warnings():  # xarray leaves a filter of its own behind
            back = arviz.from_netcdf(path, engine="h5netcdf")
        assert_whole(back, groups)

    def test_zarr(self, groups, tmp_path):
        import arviz

        path, container = str(tmp_path / "fit.zarr"), build(groups)
        with warnings.catch_warnings():
            # Zarr warns that its format for numpy's strings is not in its specification yet.
            warnings.filterwarnings("ignore", ".*(does not have a Zarr V3|Consolidated metadata)")
            if is_before_1():  # its own functions stop at zarr 2, and name this as the way
                import xarray

                container.to_datatree().to_zarr(path)
                with xarray.open_datatree(path, engine="zarr") as tree:
                    attrs, back = tree.attrs, arviz.InferenceData.from_datatree(tree.load())
                back.attrs.update(attrs)
            else:
                container.to_zarr(path)
                back = arviz.from_zarr(path)
        assert_whole(back, groups)


PICTURES_BEFORE_1 = """
az.plot_trace(data, var_names=["0.weight", "noise_scale"])
az.plot_posterior(data, var_names=["0.weight"], coords={"0_input": ["age"]})
az.plot_forest(data, var_names=["0.weight"])
az.plot_ppc(data, num_pp_samples=20, random_seed=0)
az.plot_ppc(data, group="prior", num_pp_samples=20, random_seed=0)
az.plot_dist_comparison(data, var_names=["0.bias"])
az.plot_khat(az.loo(data, pointwise=True))
"""
PICTURES_SINCE_1 = """
az.plot_trace(data, var_names=["0.weight", "noise_scale"], backend="matplotlib")
az.plot_trace_dist(data, var_names=["0.bias"], backend="matplotlib")
az.plot_dist(data, var_names=["0.weight"], coords={"0_input": ["age"]}, backend="matplotlib")
az.plot_forest(data, var_names=["0.weight"], backend="matplotlib")
az.plot_ppc_dist(data, num_samples=20, backend="matplotlib")
az.plot_ppc_dist(data, group="prior_predictive", num_samples=20, backend="matplotlib")
az.plot_prior_posterior(data, var_names=["0.bias"], backend="matplotlib")
az.plot_khat(az.loo(data, pointwise=True), backend="matplotlib")
"""


@pytest.mark.slow
def test_pictures(tmp_path):
    """In a process of its own, since both ArviZ and matplotlib keep what they are told about figures."""
    code = f"""
import sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_containers as given
import arviz as az
import matplotlib, matplotlib.pyplot as plt
before = dict(matplotlib.rcParams), dict(az.rcParams)
data = given.build(given.arrays())
figures = 0
for line in {(PICTURES_BEFORE_1 if is_before_1() else PICTURES_SINCE_1).strip()!r}.splitlines():
    exec(line)
    assert len(plt.get_fignums()) == figures + 1, line
    plt.figure(plt.get_fignums()[-1]).canvas.draw()
    assert any(axes.has_data() for axes in plt.gcf().axes), line
    figures += 1
assert (dict(matplotlib.rcParams), dict(az.rcParams)) == before
print(figures)
"""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    environment = {**os.environ, **home, "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(
        (PICTURES_BEFORE_1 if is_before_1() else PICTURES_SINCE_1).strip().splitlines()
    )
    assert list((tmp_path / "here").iterdir()) == []  # no file is left
