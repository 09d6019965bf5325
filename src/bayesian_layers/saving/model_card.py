"""The model card of a stored posterior: a page for people, from the facts that the file states.

It is written beside the files and never read back: whoever edits it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST_ROWS = 100


def write(
    document: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    *,
    others: Sequence[str] = (),
    k_hat: float | None = None,
) -> str:
    """Write the card."""
    sections = {
        "Network": _network(document["model"]["network"]),
        "Parameters and priors": _parameters(document["model"]["parameters"], shapes),
        "Likelihood": [_likelihood(document["model"]["likelihood"])],
        "Data": _data(document["data"], others),
        "Posterior": _posterior(document, k_hat),
        "Use": _use(document["model"]["network"] is None),
        "Limits": _LIMITS,
        "Versions": _table(("package", "version"), sorted(document["versions"].items())),
    }
    text = [
        "# A Bayesian network and its posterior",
        "",
        "Written by bayesian-layers beside `posterior.json` and `arrays.safetensors`. This page is for people: "
        "loading never reads it. Saving into this folder again writes it anew.",
    ]
    for title, lines in sections.items():
        text += ["", f"## {title}", "", *lines]
    return "\n".join(text) + "\n"


def code(value: object) -> str:
    """Write a name or a value that may hold anything so that Markdown shows it and nothing more.

    Args:
        value: Anything.

    Returns:
        Code, on one line, that neither ends a table's cell nor itself.

    Example:
        >>> code("a|b`c")
        "`a/b'c`"
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value)[:100])
    return (
        "`" + plain.replace("`", "'").replace("|", "/").replace("\\", "/") + "`" if plain.strip() else "` `"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(code(cell) for cell in row) + " |" for row in rows[:_MOST_ROWS]]
    return lines + ([f"\nand {len(rows) - _MOST_ROWS} more."] if len(rows) > _MOST_ROWS else [])


def _network(network: Mapping[str, Any] | None) -> list[str]:
    if network is None:
        return [
            "A network of one's own: the files hold its arrays, not its architecture. Who loads them passes a network "
            "with the same names and shapes."
        ]
    return _table(("module", "class", "arguments"), list(_modules(network, "")))


def _modules(module: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    if "children" not in module:
        said = ", ".join(f"{name}={value}" for name, value in module["arguments"].items())
        yield path, module["class"].rpartition(".")[2], said
    for name, child in module.get("children", {}).items():
        yield from _modules(child, f"{path}.{name}".lstrip("."))


def _parameters(parameters: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> list[str]:
    rows = [
        (name, " x ".join(map(str, shapes[name])) or "1", "frozen" if it["frozen"] else _prior(it["prior"]))
        for name, it in parameters.items()
    ]
    return [*_table(("parameter", "shape", "prior"), rows), "", f"{_total(shapes)} numbers in all."]


def _total(shapes: Mapping[str, Sequence[int]]) -> int:
    total = 0
    for shape in shapes.values():
        size = 1
        for length in shape:
            size *= length
        total += size
    return total


def _prior(prior: Mapping[str, Any] | None) -> str:
    if prior is None:
        return "none: a point estimate"
    if prior["name"] == "ElementwiseNormal":
        return "Normal, a mean and a deviation each entry"
    arguments = {name: value for name, value in prior.items() if name != "name"}
    shown = (f"{n}={_prior(value) if isinstance(value, dict) else value}" for n, value in arguments.items())
    return f"{prior['name']}({', '.join(shown)})"


_OF_CLASSES = ("Bernoulli", "Categorical")


def _likelihood(likelihood: Mapping[str, Any] | None) -> str:
    if likelihood is None:
        return "None: the model is part of a larger program."
    if likelihood["name"] == "Flow":
        return f"`Flow`: noise as a {code(likelihood['flow']['class'].rpartition('.')[2])} shapes it."
    arguments = {
        name: _prior(value) if isinstance(value, dict) else value
        for name, value in likelihood.items()
        if name != "name"
    }
    if likelihood["name"] in _OF_CLASSES:
        return f"{code(likelihood['name'])}: predictions are probabilities."
    if likelihood["name"] == "Normal":
        return (
            f"`Normal`, noise of the deviation {code(arguments['noise_scale'])}, in the units of the target."
        )
    said = "".join(f", `{name}` {code(value)}" for name, value in arguments.items())
    return (
        f"{code(likelihood['name'])}{said}: predictions are means and deviations, in the units of the target."
    )


def _data(data: Mapping[str, Any] | None, others: Sequence[str]) -> list[str]:
    further = [f"Further documents: {', '.join(code(f'{name}.json') for name in others)}."] if others else []
    if data is None:
        return [
            "Not recorded: give inputs of the shape and the units that the network was fitted with.",
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


def _posterior(document: Mapping[str, Any], k_hat: float | None) -> list[str]:
    source, weight, elbo = document["source"], document["kl_weight"], document["elbo"]
    details = ", ".join(f"{name} {value}" for name, value in source.items() if name != "kind")
    tempered = (
        "the posterior of the model as it stands"
        if weight == 1
        else "**tempered**: not the model's posterior"
    )
    words = {
        True: "the fit passed its test of convergence",
        False: "**the fit did not pass its test of convergence**: the numbers are those of an unfinished fit",
        None: "there was no test of convergence",
    }
    lines = [
        f"- Draws come from {code(source['kind'])}{f' ({details})' if details else ''}.",
        f"- KL weight {code(weight)}: {tempered}.",
        f"- ELBO at KL weight 1: {'not known' if elbo is None else f'{elbo:.6g} nats of the whole data set'}.",
        f"- Convergence: {words[document['converged']]}.",
    ]
    if document.get("refinement"):
        lines.append("- The draws were refined after the fit; `posterior.json` has the record.")
    if k_hat is not None:
        lines.append(
            f"- k-hat {k_hat:.2f}: below 0.7, importance correction of the draws would work; above, it would not. "
            "It says nothing about convergence."
        )
    return lines


def _use(own: bool) -> list[str]:
    call = 'bl.load("this folder", network=network)' if own else 'bl.load("this folder")'
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
    "- The uncertainty is that of this model with these priors. Where they are wrong, so is it.",
    "- A guide of one mode does not know of others; independent Normals miss correlations between weights.",
    "- Away from the data a prediction follows from priors and architecture, not from evidence.",
    "- Inputs must be prepared as they were for the fit; a shift in the data is not noticed.",
]
