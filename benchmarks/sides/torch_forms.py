"""What PyTorch's sides share: layouts there and back, and torch.compile where the form asks for it."""

import os

import numpy as np
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # benchmarks/paired.py gives both sides the same number

IMAGE, FILTER, TOKENS = (0, 2, 3, 1), (2, 3, 1, 0), (0, 2, 1, 3)  # the axes of PyTorch's arrays in minigen's order


DEVICE = "cpu"  # benchmarks/gpu.py says "cuda"


def layout(form):
    return torch.contiguous_format if form == "nchw" else torch.channels_last


def tensor(array):
    """A PyTorch tensor of its own, in the order of the array's axes."""
    return torch.from_numpy(np.array(array, order="C")).to(DEVICE)


def image(array, form):
    """(N, H, W, C) -> a tensor (N, C, H, W), stored as the form says."""
    return tensor(array.transpose(0, 3, 1, 2)).contiguous(memory_format=layout(form))


def compiled(function, form):
    """torch.compile for fixed shapes, with nothing remembered of the case before."""
    if form != "compile":
        return function
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def ours(value, axes=None):
    """Back to NumPy, with the axes of images and filters in our order."""
    array = value.detach().cpu().numpy()
    return array.transpose(axes) if axes and array.ndim == 4 else array


def load_weights(network, path, names):
    """Copy what our side wrote into a network. `names`: (our name, PyTorch's name) of every parameter."""
    arrays, parameters = np.load(path), dict(network.named_parameters())
    assert sorted(parameters) == sorted(theirs for _, theirs in names), "the two networks differ"
    with torch.no_grad():
        for our_name, their_name in names:
            parameters[their_name].copy_(to_torch(arrays[our_name], parameters[their_name]))


def to_torch(array, like):
    """(KH, KW, C, K) -> (K, C, KH, KW), (D_in, D_out) -> (D_out, D_in[, 1, 1])."""
    value = tensor(array)
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    return value.T.reshape(like.shape) if value.ndim == 2 else value


def gradients(network, path, names):
    """{"gradient NAME": array} under our names and in our layouts."""
    arrays, parameters = np.load(path), dict(network.named_parameters())
    return {f"gradient {ours}": to_ours(parameters[theirs].grad, arrays[ours]) for ours, theirs in names}


def to_ours(value, like):
    """The way back."""
    array = value.detach().numpy().copy()
    if like.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.reshape(like.shape[::-1]).T if like.ndim == 2 else array
