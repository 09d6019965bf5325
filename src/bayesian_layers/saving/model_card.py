"""The model card of a stored posterior: a page for people, made from the fields of ``posterior.json``.

It is written next to the files and never read: editing it changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_ROWS = 100


def write(
    document: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], *, others: Sequence[str] = ()
) -> str:
    """Return the card as Markdown; ``shapes`` maps the network's parameters to their shapes."""
    network, likelihood = document["model"]["network"], document["model"]["likelihood"]
    sections = {
        "Network": _network(network["modules"]),
        "Parameters and priors": _parameters(network["parameters"], shapes),
        "Likelihood": [_likelihood(likelihood)],
        "Data": _data(document["data"], others),
        "Posterior": _posterior(document),
        "Use": _use(network["modules"] is None),
        "Limits": _LIMITS,
        "Versions": _table(("package", "version"), sorted(document["versions"].items())),
    }
    text = [
        "# A Bayesian network and its posterior",
        "",
        "Written by bayesian-layers next to `posterior.json` and `arrays.safetensors`. This page is for people: "
        "loading never reads it. Saving into this folder again replaces it.",
    ]
    for title, lines in sections.items():
        text += ["", f"## {title}", "", *lines]
    return "\n".join(text) + "\n"


def code(value: object) -> str:
    """Format an untrusted name or value as Markdown code, which ends neither a cell of a table nor itself."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value)[:100])
    plain = plain.replace("`", "'").replace("|", "/").replace("\\", "/")
    return f"`{plain}`" if plain.strip() else "` `"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(code(cell) for cell in row) + " |" for row in rows[:_MOST_ROWS]]
    return lines + ([f"\nand {len(rows) - _MOST_ROWS} more."] if len(rows) > _MOST_ROWS else [])


def _network(modules: Mapping[str, Any] | None) -> list[str]:
    if modules is None:
        return [
            "Custom network: the files hold its arrays, not its architecture. To load them, pass a network with the "
            "same names and shapes."
        ]
    return _table(("module", "class", "arguments"), list(_rows(modules, "")))


def _rows(module: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    if "children" not in module:
        arguments = ", ".join(f"{name}={value}" for name, value in module["arguments"].items())
        yield path, module["class"].rpartition(".")[2], arguments
    for name, child in module.get("children", {}).items():
        yield from _rows(child, f"{path}.{name}".lstrip("."))


def _parameters(parameters: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> list[str]:
    rows = [
        (name, " x ".join(map(str, shapes[name])) or "1", "frozen" if it["frozen"] else _prior(it["prior"]))
        for name, it in parameters.items()
    ]
    total = sum(math.prod(shape) for shape in shapes.values())
    return [*_table(("parameter", "shape", "prior"), rows), "", f"{total} numbers in all."]


def _prior(prior: Mapping[str, Any] | None) -> str:
    return "none: a point estimate" if prior is None else _call(prior)


def _call(spec: Mapping[str, Any]) -> str:
    arguments = {name: value for name, value in spec.items() if name != "name"}
    shown = (
        f"{name}={_call(value) if isinstance(value, dict) and 'name' in value else value}"
        for name, value in arguments.items()
    )
    return f"{spec['name']}({', '.join(shown)})"


def _likelihood(likelihood: Mapping[str, Any] | None) -> str:
    if likelihood is None:
        return "None: the model is part of a larger program."
    name = likelihood["name"]
    shown = (
        name if any(isinstance(value, dict) and "modules" in value for value in likelihood.values()) else None
    )
    return (
        f"{code(shown or _call(likelihood))}; what its predictions are: {code(f'help(bl.likelihoods.{name})')}. "
        "Means and standard deviations are in the units of the target."
    )


def _data(data: Mapping[str, Any] | None, others: Sequence[str]) -> list[str]:
    further = [f"Further documents: {', '.join(code(f'{name}.json') for name in others)}."] if others else []
    if data is None:
        return [
            "Not recorded: inputs must have the shape and the units that the network was fitted with.",
            *further,
        ]
    named = [(f"input {i}", each) for i, each in enumerate(data["inputs"])]
    named += [] if data["target"] is None else [("target", data["target"])]
    rows = [
        (
            name,
            it["dtype"],
            " x ".join(["N", *map(str, it["shape"])]),
            ", ".join(it["names"] or ()) or "not recorded",
        )
        for name, it in named
    ]
    fitted = [] if data["rows"] is None else [f"Fitted to {data['rows']} rows.", ""]
    return [*fitted, *_table(("array", "type", "shape", "names"), rows), *further]


def _posterior(document: Mapping[str, Any]) -> list[str]:
    source, weight, elbo = document["source"], document["kl_weight"], document["elbo"]
    tempered = "the model's posterior" if weight == 1 else "**tempered**: not the model's posterior"
    convergence = {
        True: "the fit converged",
        False: "**the fit did not converge**: the numbers are those of an unfinished fit",
        None: "convergence was not tested",
    }
    lines = [
        f"- Draws come from {code(_call(source))}.",
        f"- KL weight {code(weight)}: {tempered}.",
        f"- ELBO at KL weight 1: {'not known' if elbo is None else f'{elbo:.6g} nats of the whole data set'}.",
        f"- Convergence: {convergence[document['converged']]}.",
    ]
    if document["refinement"]:
        lines.append("- The draws were refined after the fit; `posterior.json` has the record.")
    return lines


def _use(custom: bool) -> list[str]:
    call = 'bl.load("this folder", network=network)' if custom else 'bl.load("this folder")'
    return [
        "```python",
        "import bayesian_layers as bl",
        "",
        f"posterior = {call}",
        "prediction = posterior.predict(x, num_draws=1000, seed=0)  # mean, epistemic_std, aleatoric_std, std",
        "```",
        "",
        "The files are data: loading runs no code from them.",
    ]


_LIMITS = [
    "- The uncertainty is that of this model with these priors. Where they are wrong, the uncertainty is wrong.",
    "- A guide with one mode does not know other modes; independent Normals miss correlations between weights.",
    "- Far from the data a prediction follows from priors and architecture, not from evidence.",
    "- Inputs must be prepared as they were for the fit; a shift in the data is not detected.",
]
