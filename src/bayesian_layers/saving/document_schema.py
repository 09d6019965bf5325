"""The schema of ``posterior.json``, but for the network's modules, whose schema is in ``architecture``.

Version 1, of the first files, has no field ``version`` and none ``data``.
"""

from __future__ import annotations

from .schema import AnyOf, Bool, Fields, ListOf, MapOf, Null, Number, Schema, Tagged, Text, Whole, optional

VERSION = 2

_FINITE, _POSITIVE = Number(), Number(above=0)
_LOG_NORMAL = Fields({"loc": _FINITE, "scale": _POSITIVE})
_HALF_CAUCHY = Fields({"scale": _POSITIVE})
_SCALE_PRIOR = Tagged("name", {"LogNormal": _LOG_NORMAL, "HalfCauchy": _HALF_CAUCHY})
_LOG_NORMAL_PRIOR = Tagged("name", {"LogNormal": _LOG_NORMAL})

PRIOR = Tagged(
    "name",
    {
        "Normal": Fields({"loc": _FINITE, "scale": AnyOf((_POSITIVE, Text(("learned", "fan_in"))))}),
        "LogNormal": _LOG_NORMAL,
        "HalfCauchy": _HALF_CAUCHY,
        "HierarchicalNormal": Fields({"loc": _FINITE, "scale": _SCALE_PRIOR}),
        "Horseshoe": Fields({"unit_scale": _POSITIVE, "layer_scale": _POSITIVE}),
        "Laplace": Fields({"loc": _FINITE, "scale": _POSITIVE}),
        "LogUniform": Fields({}),
        "ElementwiseNormal": Fields({}),
        "Noise": Fields({}),
        "ScaleMixture": Fields({"weight": _POSITIVE, "scales": ListOf(_POSITIVE, most=2)}),
        "Whitened": Fields({}),
    },
)
PARAMETERS = MapOf(Fields({"prior": optional(PRIOR), "frozen": Bool()}))
_NOISE = AnyOf((_POSITIVE, Text(("learned",)), _LOG_NORMAL_PRIOR))
_AXIS = Text(("last", "first"))
_COMPONENTS = Whole(1, 2**20)
LIKELIHOOD = Tagged(
    "name",
    {
        "Bernoulli": Fields({}),
        "Categorical": Fields({}, {"class_axis": _AXIS}),
        "Normal": Fields({"noise_scale": _NOISE}),
        "HeteroscedasticNormal": Fields({}, {"output_axis": _AXIS}),
        "StudentT": Fields({"df": _NOISE, "noise_scale": _NOISE}),
        "Poisson": Fields({}),
        "NegativeBinomial": Fields({"dispersion": _NOISE}),
        "Beta": Fields({"precision": _NOISE}),
        "MixtureOfNormals": Fields({"components": _COMPONENTS}, {"output_axis": _AXIS}),
        "MixtureOfLogistics": Fields({"components": _COMPONENTS}, {"output_axis": _AXIS}),
        "DiscretizedMixtureOfLogistics": Fields(
            {"components": _COMPONENTS, "levels": Whole(2, 2**16)}, {"output_axis": _AXIS}
        ),
        "Flow": Fields({"flow": MapOf(), "parameters": PARAMETERS}),
    },
)
MODEL = Fields({"network": optional(MapOf()), "parameters": PARAMETERS, "likelihood": optional(LIKELIHOOD)})
_SOURCES: dict[str, Fields] = {
    "MeanFieldNormal": Fields({}),
    "BlockNormal": Fields({}),
    "FullRankNormal": Fields({}),
    "LowRankNormal": Fields({"rank": Whole(1)}),
    "Flow": Fields({"layers": Whole(1, 1000), "hidden": ListOf(Whole(1, 2**20), most=64)}),
    "Ensemble": Fields({"members": Whole(1, 2**20), "weights": Text(("elbo", "equal"))}),
    "StoredDraws": Fields({"draws": Whole(2, 2**40)}),
}
SOURCE = Tagged("kind", {**_SOURCES, "Pruned": Fields({"source": Tagged("kind", _SOURCES)})})
_ARRAY = Fields({"shape": ListOf(Whole(0)), "dtype": Text(), "names": optional(ListOf(Text(), most=10_000))})
DATA = Fields({"inputs": ListOf(_ARRAY), "target": optional(_ARRAY), "rows": optional(Whole(0))})

_FIRST: dict[str, Schema] = {
    "model": MODEL,
    "source": SOURCE,
    "elbo": AnyOf((_FINITE, Null())),
    "kl_weight": AnyOf((Number(least=0), MapOf(Number(least=0)))),
    "converged": AnyOf((Bool(), Null()), "true, false or null"),
    "versions": MapOf(Text()),
}
_LATER: dict[str, Schema] = {
    "refinement": optional(MapOf())
}  # what a refinement says of itself, checked by its reader
POSTERIOR: dict[int, Fields] = {
    1: Fields(_FIRST, _LATER),
    2: Fields({"version": Whole(2, 2), "data": optional(DATA), **_FIRST}, _LATER),
}
