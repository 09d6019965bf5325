"""One test for each private API of torch and Pyro, which fails if a release changes it."""

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.nn.utils import rnn

from bayesian_layers import private_apis


def test_base_classes():
    assert all(issubclass(kind, private_apis.BATCH_NORM) for kind in (nn.BatchNorm1d, nn.BatchNorm3d))
    assert issubclass(nn.InstanceNorm1d, private_apis.RUNNING_NORM)
    assert not issubclass(nn.InstanceNorm1d, private_apis.BATCH_NORM)
    assert issubclass(nn.Conv2d, private_apis.CONVOLUTION)
    assert issubclass(nn.ConvTranspose2d, private_apis.TRANSPOSED_CONVOLUTION)
    assert not issubclass(nn.Conv2d, private_apis.TRANSPOSED_CONVOLUTION)


def test_torch_packs_and_pads_sequences_by_these_functions():
    class Seen(torch.overrides.TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.functions = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.functions.append(func)
            return func(*args, **(kwargs or {}))

    with Seen() as seen:
        packed = rnn.pack_padded_sequence(torch.ones(3, 2, 1), torch.tensor([3, 1]))
        rnn.pad_packed_sequence(packed)
    assert private_apis.PACK_SEQUENCE in seen.functions
    assert private_apis.PAD_SEQUENCE in seen.functions


def test_a_dispatch_mode_sees_operations():
    class Names(private_apis.DispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func.name())
            return func(*args, **(kwargs or {}))

    with Names() as mode:
        torch.vmap(torch.exp)(torch.ones(3))
    assert "aten::exp" in mode.names


def test_an_operation_shows_whether_it_writes_and_its_kernel():
    add, add_ = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor
    assert not private_apis.changes_arguments(add)
    assert private_apis.changes_arguments(add_)
    value = torch.ones(2)
    assert private_apis.kernel(add)(value, value).tolist() == [2.0, 2.0]
    private_apis.kernel(add_)(value, value)
    assert value.tolist() == [2.0, 2.0]


def test_the_fused_kernel_is_torchs_adam():
    start, gradients = torch.linspace(-1, 1, 5), [torch.linspace(1, 2, 5) * (-0.5) ** i for i in range(4)]
    theirs = nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([theirs], lr=0.1, betas=(0.8, 0.95), eps=1e-6)
    ours, moments = start.clone(), (torch.zeros(5), torch.zeros(5))
    for i, gradient in enumerate(gradients):
        theirs.grad = gradient.clone()
        optimizer.step()
        clock, rate = torch.tensor(i + 1.0), torch.tensor(0.1)
        private_apis.fused_adam_(ours, gradient, moments, clock, rate, betas=(0.8, 0.95), epsilon=1e-6)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)


def test_modules_with_hooks_or_another_forward():
    plain, hooked, early, patched = (nn.Linear(1, 1, device="meta") for _ in range(4))
    hooked.register_forward_hook(lambda *_: None)
    early.register_forward_pre_hook(lambda *_: None)
    patched.forward = lambda x: x
    assert [private_apis.replaces_forward(each) for each in (plain, hooked, early, patched)] == [
        False,
        True,
        True,
        True,
    ]


def test_own_tensors_may_be_replaced():
    module = nn.Sequential(nn.BatchNorm1d(2))
    parameters, buffers = private_apis.own_tensors(module[0])
    assert set(parameters) == {"weight", "bias"}
    assert set(buffers) == {"running_mean", "running_var", "num_batches_tracked"}
    buffers["running_mean"] = torch.ones(2)
    assert torch.equal(module.state_dict()["0.running_mean"], torch.ones(2))
    assert private_apis.own_tensors(module) == ({}, {})


def test_handlers_of_pyro():
    before = list(private_apis.pyro_handlers())
    with poutine.trace() as tracer, pyro.poutine.block():
        assert tracer in private_apis.pyro_handlers()
        assert len(private_apis.pyro_handlers()) == len(before) + 2
    assert private_apis.pyro_handlers() == before


def test_trees():
    tree = {"a": [1, (2, 3)], "b": 4}
    assert private_apis.tree_leaves(tree) == [1, 2, 3, 4]
    assert private_apis.tree_map(lambda leaf: -leaf, tree) == {"a": [-1, (-2, -3)], "b": -4}
    whole = private_apis.tree_leaves(tree, is_leaf=lambda each: isinstance(each, tuple))
    assert whole == [1, (2, 3), 4]
    with pytest.raises(TypeError):
        private_apis.tree_map(tree)


def test_flops_of_products_are_known_and_of_others_none():
    a, b = torch.ones(2, 3), torch.ones(3, 4)
    aten = torch.ops.aten
    assert private_apis.flops(aten.mm.default, (a, b), {}, a @ b) == 2 * 2 * 3 * 4
    assert private_apis.flops(aten.sin.default, (a,), {}, a.sin()) == 0


def test_tensors_are_keys_by_identity():
    one, other = torch.ones(2), torch.ones(2)
    known = private_apis.WeakIdKeyDictionary()
    known[one] = True
    assert one in known
    assert other not in known
