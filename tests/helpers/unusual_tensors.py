"""Kinds of tensors about whose making torch warns."""

import warnings

import torch


def nested(*parts, layout=torch.strided):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.as_nested_tensor(list(parts), layout=layout)


def quantized(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
