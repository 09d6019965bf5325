"""The same tests run under ArviZ 0.23 (Python 3.11) and 1.x (Python 3.12 and later, without torch).

So the package under test is loaded by its path: importing all of bayesian_layers would import torch.
"""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bayesian_layers" / "inference_data" / "__init__.py"
SPEC = importlib.util.spec_from_file_location("inference_data_under_test", SOURCE)
subject = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = subject  # where its own relative imports look
SPEC.loader.exec_module(subject)

DRAWS, ROWS = 400, 7


@pytest.fixture
def posterior():
    rng = np.random.default_rng(0)
    return {
        "0.weight": rng.normal(3.0, 0.5, size=(DRAWS, 4, 2)).astype(np.float32),
        # Skewed, so that a highest-density interval differs from one of equal tails.
        "scale": rng.gamma(1.5, size=DRAWS),
        "0.bias": rng.normal(-1.0, 2.0, size=(DRAWS, 4)),
    }


@pytest.fixture
def everything(posterior):
    rng = np.random.default_rng(1)
    return {
        "posterior": posterior,
        "posterior_predictive": {"y": rng.integers(0, 2, size=(DRAWS, ROWS))},
        "log_likelihood": {"y": rng.normal(size=(DRAWS, ROWS))},
        "observed_data": {"y": np.arange(ROWS) % 2},
        "constant_data": {"x": rng.normal(size=(ROWS, 2))},
    }


def build(everything, **attrs):
    rest = {name: group for name, group in everything.items() if name != "posterior"}
    return subject.from_arrays(everything["posterior"], **rest, attrs=attrs)


def groups_of(container):
    """Names of the groups, in both worlds."""
    names = container.groups() if callable(container.groups) else container.groups
    return {name.strip("/") for name in names} - {""}


def assert_holds(container, everything):
    for group, arrays in everything.items():
        assert set(container[group].data_vars) == set(arrays)
        for name, array in arrays.items():
            stored = container[group][name].values
            np.testing.assert_array_equal(stored if group.endswith("_data") else stored[0], array)


def shortest_interval(draws, prob):
    """The shortest run of sorted draws that spans a share `prob` of them, found by trying every one."""
    ordered = np.sort(draws)
    span = int(np.floor(prob * len(ordered)))
    width, start = min((ordered[i + span] - ordered[i], i) for i in range(len(ordered) - span))
    return ordered[start], ordered[start] + width


class TestFromArrays:
    def test_the_groups_are_the_ones_given(self, everything):
        assert groups_of(build(everything)) == set(everything)
        assert groups_of(subject.from_arrays(everything["posterior"])) == {"posterior"}
        assert groups_of(subject.from_arrays(everything["posterior"], observed_data={})) == {"posterior"}

    def test_values_and_dtypes_are_kept(self, everything):
        container = build(everything)
        assert_holds(container, everything)
        assert container["posterior"]["0.weight"].dtype == np.float32
        assert container["observed_data"]["y"].dtype.kind == "i"

    def test_the_draws_are_one_chain(self, everything):
        container = build(everything)
        for group in ("posterior", "posterior_predictive", "log_likelihood"):
            sizes = container[group].sizes
            assert (sizes["chain"], sizes["draw"]) == (1, DRAWS)
        assert "draw" not in container["observed_data"].sizes

    def test_dimensions_have_the_default_names(self, everything):
        container = build(everything)
        expected = ("chain", "draw", "0.weight_dim_0", "0.weight_dim_1")
        assert container["posterior"]["0.weight"].dims == expected
        assert container["posterior"]["scale"].dims == ("chain", "draw")
        assert container["log_likelihood"]["y"].dims == ("chain", "draw", "y_dim_0")
        assert container["observed_data"]["y"].dims == ("y_dim_0",)
        assert container["constant_data"]["x"].dims == ("x_dim_0", "x_dim_1")

    def test_attributes_stand_on_the_container(self, everything):
        container = build(everything, seed=3, note="a fit")
        assert container.attrs["seed"] == 3
        assert container.attrs["note"] == "a fit"
        assert "seed" not in container["posterior"].attrs

    def test_arviz_takes_the_container(self, everything):
        import arviz

        assert np.isfinite(arviz.loo(build(everything)).se)

    @pytest.mark.parametrize("other", ["a_dim_0", "a_dim_1"])
    def test_a_variable_named_like_a_dimension_is_kept(self, other):
        arrays = {"a": np.arange(12.0).reshape(2, 3, 2), other: np.arange(6.0).reshape(2, 3)}
        container = subject.from_arrays(arrays)
        assert_holds(container, {"posterior": arrays})
        assert f"{other}_" in container["posterior"]["a"].dims

    def test_a_collision_across_groups_is_kept_too(self):
        draws, other = np.arange(12.0).reshape(2, 3, 2), np.arange(3.0)
        everything = {
            "posterior": {"w": draws[:, 0]},
            "posterior_predictive": {"y": draws},
            "observed_data": {"y": draws[0], "y_dim_0": other},
        }
        assert_holds(build(everything), everything)

    def test_a_collision_of_two_ranks_is_kept(self):
        everything = {
            "posterior": {"y": np.arange(24.0).reshape(2, 3, 4), "y_dim_0": np.arange(2.0)},
            "observed_data": {"y": np.arange(5.0)},
        }
        assert_holds(build(everything), everything)

    @pytest.mark.parametrize("name", ["draw", "chain", "net/0.weight"])
    def test_a_name_that_cannot_be_stored_is_refused(self, name):
        with pytest.raises(ValueError, match="another name"):
            subject.from_arrays({name: np.zeros((2, 3))})

    def test_netcdf_round_trip(self, everything, tmp_path):
        import arviz

        path = tmp_path / "fit.nc"
        # h5netcdf comes with ArviZ in CI's environments, so a missing backend is an error, not a skip.
        build(everything, seed=3, note="a fit").to_netcdf(str(path), engine="h5netcdf")
        with warnings.catch_warnings():  # xarray leaves a filter of its own behind
            back = arviz.from_netcdf(str(path), engine="h5netcdf")
        assert_holds(back, everything)
        assert (int(back.attrs["seed"]), back.attrs["note"]) == (3, "a fit")


class TestSummarize:
    def test_columns_are_the_same_floats_in_both_worlds(self, posterior):
        table = subject.summarize(posterior)
        assert list(table.columns) == ["mean", "sd", "hdi_3%", "hdi_97%"]
        assert [dtype.name for dtype in table.dtypes] == ["float64"] * 4

    def test_integer_draws_give_floats(self):
        table = subject.summarize({"n": np.array([1, 1, 1, 1])})
        assert [dtype.name for dtype in table.dtypes] == ["float64"] * 4
        assert table.loc["n"].tolist() == [1.0, 0.0, 1.0, 1.0]

    def test_rows_are_named_by_site_and_index(self, posterior):
        rows = list(subject.summarize(posterior).index)
        weights = [f"0.weight[{i}, {j}]" for i in range(4) for j in range(2)]
        assert rows == [*weights, "scale", *(f"0.bias[{i}]" for i in range(4))]

    def test_mean_and_standard_deviation_are_numpys(self, posterior):
        table = subject.summarize(posterior)
        flat = np.concatenate([v.reshape(DRAWS, -1).astype(float) for v in posterior.values()], axis=1)
        # Unrounded: the only difference allowed is that of the order of a sum in float64.
        np.testing.assert_allclose(table["mean"], flat.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(table["sd"], flat.std(axis=0, ddof=1), rtol=1e-12)

    @pytest.mark.parametrize(
        ("prob", "names"), [(0.94, ("3", "97")), (0.5, ("25", "75")), (0.955, ("2.25", "97.75"))]
    )
    def test_the_interval_is_the_shortest_one(self, posterior, prob, names):
        table = subject.summarize(posterior, interval_prob=prob)
        assert list(table.columns[2:]) == [f"hdi_{name}%" for name in names]
        for row, draws in [("scale", posterior["scale"]), ("0.bias[2]", posterior["0.bias"][:, 2])]:
            low, high = shortest_interval(draws, prob)
            bounds = table.loc[row].to_numpy()[2:]
            # ArviZ's versions round the number of draws inside differently: one draw's difference at
            # an end moves it by less than a twentieth of the standard deviation here.
            np.testing.assert_allclose(bounds, [low, high], atol=0.05 * draws.std())
            inside = np.mean((draws >= bounds[0]) & (draws <= bounds[1]))
            assert inside == pytest.approx(prob, abs=2.5 / DRAWS)

    def test_the_interval_is_not_of_equal_tails(self, posterior):
        row = subject.summarize(posterior).loc["scale"]
        equal_tails = np.quantile(posterior["scale"], 0.97)
        assert row["hdi_97%"] < equal_tails - 0.05 * row["sd"]

    @pytest.mark.parametrize("name", ["draw", "chain", "net/0.weight", "w"])
    def test_any_site_name_can_be_summarized(self, name):
        table = subject.summarize({name: np.array([[0.0, 1.0], [2.0, 3.0]]), "w_dim_0": np.array([4.0, 6.0])})
        assert list(table.index) == [f"{name}[0]", f"{name}[1]", "w_dim_0"]
        assert table["mean"].tolist() == [1.0, 2.0, 5.0]

    def test_draws_that_are_not_finite_show(self):
        # As floats and with both signs in play, a sorted NaN would pass for the largest draw.
        draws = np.array([[0.0, 1.0], [np.nan, 2.0], [1.0, 3.0]])
        table = subject.summarize({"w": draws})
        assert np.isnan(table.loc["w[0]"]).all()
        assert np.isfinite(table.loc["w[1]"]).all()

    @pytest.mark.parametrize("prob", [0.0, 1.0, -0.1, 94, float("nan")])
    def test_a_probability_outside_0_and_1_is_refused(self, posterior, prob):
        with pytest.raises(ValueError, match="between 0 and 1"):
            subject.summarize(posterior, interval_prob=prob)


@pytest.mark.parametrize("function", [subject.from_arrays, subject.summarize])
class TestRefusals:
    def test_empty(self, function):
        with pytest.raises(ValueError, match="empty mapping"):
            function({})

    def test_one_draw(self, function):
        with pytest.raises(ValueError, match=r"at least 2 draws; posterior\['w'\] holds 1"):
            function({"w": np.zeros((1, 3))})

    def test_no_axis_of_draws(self, function):
        with pytest.raises(ValueError, match="first axis of draws"):
            function({"w": np.array(1.0)})

    def test_different_numbers_of_draws(self, function):
        with pytest.raises(
            ValueError, match=r"posterior\['w'\] holds 3, but posterior\['b'\] has shape \(4,\)"
        ):
            function({"w": np.zeros((3, 2)), "b": np.zeros(4)})

    def test_not_numbers(self, function):
        with pytest.raises(ValueError, match="array of numbers"):
            function({"w": np.array(["a", "b"])})


@pytest.mark.parametrize("group", ["posterior_predictive", "log_likelihood"])
class TestRefusalsOfOtherGroups:
    def test_different_numbers_of_draws(self, group):
        with pytest.raises(ValueError, match=rf"{group}\['y'\] has shape \(4, 2\)"):
            subject.from_arrays({"w": np.zeros(3)}, **{group: {"y": np.zeros((4, 2))}})

    def test_different_numbers_of_rows(self, group):
        with pytest.raises(ValueError, match=r"observed_data\['y'\] has shape \(5, 1\)"):
            subject.from_arrays(
                {"w": np.zeros(3)}, **{group: {"y": np.zeros((3, 2))}}, observed_data={"y": np.zeros((5, 1))}
            )

    def test_no_rows(self, group):
        with pytest.raises(ValueError, match=r"shape \(S, N, ...\); received \(3,\)"):
            subject.from_arrays({"w": np.zeros(3)}, **{group: {"y": np.zeros(3)}})


def run_alone(code, home):
    """Run code in a fresh interpreter with every warning an error, and a home without stamp files."""
    load = (
        "import importlib.util as u, sys, warnings; import numpy as np;"
        f"s = u.spec_from_file_location('subject', {str(SOURCE)!r}); m = u.module_from_spec(s);"
        "sys.modules['subject'] = m; s.loader.exec_module(m);"
    )
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PATH": ""}
    command = [sys.executable, "-W", "error", "-c", load + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_loading_the_file_imports_neither_arviz_nor_pandas(tmp_path):
    done = run_alone(
        "assert not {'arviz', 'pandas', 'xarray', 'matplotlib', 'torch'} & set(sys.modules)", tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_first_use_warns_of_nothing_and_restores_the_filters(tmp_path):
    code = "before = list(warnings.filters); m.summarize({'w': np.arange(6.).reshape(3, 2)});"
    code += "m.from_arrays({'w': np.arange(3.)}); assert warnings.filters == before"
    done = run_alone(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_later_use_warns_of_nothing(everything):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(everything)
        subject.summarize(everything["posterior"])
    assert caught == []


@pytest.mark.parametrize("k", [0.3, 0.6, 0.9, 1.4])
def test_k_hat_finds_the_tail_of_pareto_weights(k):
    log_weights = -k * np.log(np.random.default_rng(0).uniform(size=20_000))
    assert subject.pareto_k_hat(log_weights) == pytest.approx(k, abs=0.15)


def test_k_hat_of_light_tails_and_of_equal_weights():
    assert subject.pareto_k_hat(np.random.default_rng(0).uniform(-1, 0, size=4000)) < 0.1
    assert subject.pareto_k_hat(np.full(100, -3.0)) == 0.0
