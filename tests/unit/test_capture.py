import pytest
import torch

from bayesian_layers.fitting.stepping.capture import CaptureError, capture
from bayesian_layers.noise import seeded

X = torch.linspace(-1, 1, 6)


def test_a_captured_function_gives_the_same_on_other_tensors():
    def function(x, w):
        return (torch.vmap(lambda v: (v * x).tanh().sum())(w), x.exp())

    captured = capture(function, [X, torch.ones(3, 6)])
    x, w = X.cos(), torch.arange(18.0).reshape(3, 6) / 10
    for ours, theirs in zip(captured.run(x, w), function(x, w), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_gradients_are_captured():
    def function(x):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad((leaf**3).sum(), leaf)

    torch.testing.assert_close(capture(function, [X]).run(X + 1)[0], 3 * (X + 1) ** 2)


def test_inputs_that_are_written_to_are_written_to_again():
    def function(x, state):
        state.mul_(2).add_(x)
        return (state.sum() + (state * 1).sum(),)

    captured = capture(function, [X, torch.zeros(6)])
    ours, theirs = torch.ones(6), torch.ones(6)
    for _ in range(3):
        torch.testing.assert_close(captured.run(X, ours), function(X, theirs))
    torch.testing.assert_close(ours, theirs)


def test_a_read_before_and_one_after_a_write_are_two_reads():
    def function(x):
        before = x.exp()
        x.add_(1)
        return before, x.exp()

    before, after = capture(function, [X.clone()]).run(X.clone())
    torch.testing.assert_close(before, X.exp())
    torch.testing.assert_close(after, (X + 1).exp())


def test_a_product_with_one_that_is_written_to_is_not_an_alias():
    def function(x):
        copy = x * 1
        copy.add_(5)
        return (x + 0 * copy,)

    torch.testing.assert_close(capture(function, [X]).run(X)[0], X)


def test_constants_and_buffers_that_change():
    constant, buffer = torch.arange(6.0), torch.zeros(())

    def function(x):
        buffer.add_(1)
        return (x * constant.sin() + buffer * 2,)

    captured = capture(function, [X])
    assert "sin" not in captured.source  # constant, so computed once
    torch.testing.assert_close(captured.run(X)[0], X * constant.sin() + 4)
    torch.testing.assert_close(captured.run(X)[0], X * constant.sin() + 6)


def test_filled_memory_that_is_written_to_is_filled_again():
    def function(x):
        total = torch.zeros_like(x)
        total[2:4] += x[2:4]
        return (total,)

    captured = capture(function, [X])
    captured.run(X)
    torch.testing.assert_close(captured.run(X)[0], function(X)[0])


def test_random_numbers_are_drawn_again_and_not_shared():
    def function(x):
        return (torch.rand_like(x), torch.rand_like(x))

    with seeded(0):
        captured = capture(function, [X])
    with seeded(1):
        ours = captured.run(X)
    with seeded(1):
        theirs = function(X)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(*ours)


def test_unused_and_repeated_operations_are_removed():
    def function(x):
        torch.linspace(0, 1, 3).exp()  # not used
        view = x.reshape(2, 3).unsqueeze(0).squeeze(0).reshape(6) * 1
        return (view.exp() + view.exp(),)

    assert capture(function, [X]).operations == 2


def test_values_must_not_be_read():
    with pytest.raises(CaptureError, match="reads the values"):
        capture(lambda x: (x if x.sum() > 0 else -x,), [X])
    with pytest.raises(CaptureError, match="something other than tensors"):
        capture(lambda _: (3,), [X])
