"""Each check accepts what it names, refuses everything else, and names the argument in its message."""

import numpy as np
import pytest
import torch

from bayesian_layers import arguments
from bayesian_layers.errors import DataError
from unusual_tensors import nested, quantized

NESTED = nested(torch.zeros(2), torch.zeros(3))
NOT_NUMBERS = ["3", None, [3], True, 1j]


@pytest.mark.parametrize("value", [3, np.int64(3)])
def test_integers_come_back_as_python_integers(value):
    assert type(arguments.check_integer("n", value, least=3, most=3)) is int


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 2, 5, 3.0, float("nan")])
def test_other_integers_are_refused(value):
    with pytest.raises(DataError, match=r"`n` must be an integer from 3 to 4; received .*\. Try 3\."):
        arguments.check_integer("n", value, least=3, most=4, hint="Try 3.")


def test_an_integer_without_a_largest_value():
    assert arguments.check_integer("n", 10**12, least=1) == 10**12
    with pytest.raises(DataError, match=r"`n` must be an integer, 1 or more; received 0$"):
        arguments.check_integer("n", 0, least=1)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (arguments.check_positive, [1, 0.5, np.float32(2)], [0, -1.0, float("inf"), float("nan")]),
        (arguments.check_finite, [0, -1.5, np.float32(2)], [float("inf"), -float("inf"), float("nan")]),
        (arguments.check_fraction, [0.5, np.float32(0.25)], [0, 1, 1.5, float("nan")]),
    ],
)
def test_numbers(check, good, bad):
    for value in good:
        assert check("a", value) == value
    for value in [*bad, *NOT_NUMBERS]:
        with pytest.raises(DataError, match=r"`a` must be a .*number.*; received .*\. More\."):
            check("a", value, hint="More.")


def test_choices():
    assert arguments.check_choice("kind", "a", ("a", "b")) == "a"
    for value in ["c", None, 1, ["a"]]:
        with pytest.raises(DataError, match="`kind` must be one of 'a', 'b'; received"):
            arguments.check_choice("kind", value, ("a", "b"))


def test_tensors():
    x = torch.zeros(3)
    assert arguments.check_tensor("x", x) is x
    with pytest.raises(TypeError, match=r"`x` must be a torch tensor; received ndarray\. Use torch"):
        arguments.check_tensor("x", x.numpy(), hint="Use torch.from_numpy.")
    for wrong, match in (
        (x.to(torch.complex64), r"real numbers; received torch.complex64\. Use .real"),
        (x.to_sparse(), r"dense tensor; received torch.sparse_coo\. Use .to_dense"),
        (NESTED, r"dense tensor; received a nested tensor\. Use torch\.nested\.to_padded_tensor"),
        (
            x.to(torch.float8_e5m2),
            r"of 16 bits or more per number; received torch\.float8_e5m2\. Use .float",
        ),
        (
            quantized(x),
            r"real numbers; received torch\.qint8\. Use .dequantize",
        ),
        (x.to("meta"), "with values; received one on the device 'meta'"),
    ):
        with pytest.raises(DataError, match=f"`x` must be a .*{match}"):
            arguments.check_tensor("x", wrong)
    assert arguments.check_finite_tensor("x", x) is x
    with pytest.raises(DataError, match="`x` has 2 values that are NaN or infinite"):
        arguments.check_finite_tensor("x", torch.tensor([1.0, float("nan"), -float("inf")]))
    assert arguments.check_no_nan("x", x) is x
    with pytest.raises(DataError, match=r"`x` must be free of NaN; received 1 NaN of 2 values"):
        arguments.check_no_nan("x", torch.tensor([1.0, float("nan")]))
