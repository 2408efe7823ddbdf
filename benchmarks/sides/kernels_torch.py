"""PyTorch's side of the kernel rows, in the form that is asked for (benchmarks/cases.py lists the forms).

nchw            as PyTorch stores images by default
channels_last   as its CPU convolutions like it best; the filters too
eager           where there is no image
compile         torch.compile of the channels-last or eager form
"""

import torch
from torch.nn import functional as F

from benchmarks.paired import Work
from benchmarks.sides.data import kernel_inputs
from benchmarks.sides.torch_forms import FILTER, IMAGE, TOKENS, compiled, image, ours, tensor


def prepare(case, form, folder):
    """A builder gives what to run, and the order of axes that turns its images or filters into minigen's layout."""
    run, axes = BUILD[case["shape"]["kernel"]](form, case["shape"], **kernel_inputs(case))
    return Work(run, lambda: {name: ours(value, axes) for name, value in run().items()})


def conv(form, shape, x, w, dy):
    x, dy, w = image(x, form), image(dy, form), image(w.transpose(3, 0, 1, 2), form)  # (K, C, KH, KW)
    stride, padding, transposed = shape["stride"], shape["padding"], shape["transposed"]

    def forward(x, w):
        convolve = F.conv_transpose2d if transposed else F.conv2d
        return convolve(x, w, None, stride, padding)

    def backward(x, w, dy, wanted):
        return torch.ops.aten.convolution_backward(
            dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1, wanted
        )

    forward, backward = compiled(forward, form), compiled(backward, form)

    passes = {
        "forward": lambda: forward(x, w),
        "input grad": lambda: backward(x, w, dy, [True, False, False])[0],
        "weight grad": lambda: backward(x, w, dy, [False, True, False])[1],
    }

    @torch.no_grad()
    def run():
        return {shape["pass"]: passes[shape["pass"]]()}

    return run, FILTER if shape["pass"] == "weight grad" else IMAGE


def groupnorm_silu(form, shape, x, gamma, beta, dy):
    def function(x, gamma, beta):
        return F.silu(F.group_norm(x, 8, gamma, beta))

    return forward_backward(function, form, image(dy, form), image(x, form), tensor(gamma), tensor(beta)), IMAGE


def attention(form, shape, q, k, v, dy):
    q, k, v, dy = (tensor(a.transpose(0, 2, 1, 3)) for a in (q, k, v, dy))  # (N, heads, L, width)
    return forward_backward(F.scaled_dot_product_attention, form, dy, q, k, v), TOKENS


def softmax(form, shape, x, dy):
    return forward_backward(lambda x: F.softmax(x, -1), form, tensor(dy), tensor(x)), None


def forward_backward(function, form, dy, *inputs):
    inputs = [a.requires_grad_() for a in inputs]
    function = compiled(function, form)

    def run():
        y = function(*inputs)
        return {"y": y, **{f"gradient {i}": d for i, d in enumerate(torch.autograd.grad(y, inputs, dy))}}

    return run


def adamw(form, shape, p, g):
    parameters = [tensor(a).requires_grad_() for a in p]
    for parameter, gradient in zip(parameters, g):
        parameter.grad = tensor(gradient)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True)
    step = compiled(optimizer.step, form)

    def run():
        step()
        return {"first": parameters[0], "last": parameters[-1]}

    return run, None


BUILD = {"conv": conv, "groupnorm_silu": groupnorm_silu, "attention": attention, "softmax": softmax, "adamw": adamw}
