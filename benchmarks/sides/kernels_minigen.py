"""Our side of the kernel rows: convolutions through `dispatch`, the rest through the operations a user calls.

The form is "numba", or "cuda" for arrays on the GPU.
"""

from benchmarks.paired import Work
from benchmarks.sides.data import kernel_inputs
from minigen import Tensor, grad, ops
from minigen.device import to_device
from minigen.dispatch import dispatch
from minigen.nn import Parameter
from minigen.optim import AdamW


def prepare(case, form, folder):
    device = "cuda" if form == "cuda" else "cpu"
    inputs = {name: to_device(array, device) for name, array in kernel_inputs(case).items()}
    run = BUILD[case["shape"]["kernel"]](case["shape"], **inputs)
    return Work(run, lambda: {name: to_device(array, "cpu") for name, array in run().items()})


def conv(shape, x, w, dy):
    """The three passes. A transposed convolution's forward is the input gradient, and the other way about."""
    geometry = (shape["stride"],) * 2, (shape["padding"],) * 2, (1, 1), 1
    window, size = w.shape[:2], (dy if shape["transposed"] else x).shape[1:3]
    image, image_grad = (dy, x) if shape["transposed"] else (x, dy)

    def convolution():
        return dispatch("conv2d", image, w, None, *geometry)

    def its_input_grad():
        return dispatch("conv2d_input_grad", image_grad, w, size, *geometry)

    def its_weight_grad():
        return dispatch("conv2d_weight_grad", image, image_grad, window, *geometry)

    forward, backward = (its_input_grad, convolution) if shape["transposed"] else (convolution, its_input_grad)
    run = {"forward": forward, "input grad": backward, "weight grad": its_weight_grad}[shape["pass"]]
    return lambda: {shape["pass"]: run()}


def groupnorm_silu(shape, x, gamma, beta, dy):
    return forward_backward(lambda x, gamma, beta: ops.group_norm_silu(x, gamma, beta, 8), dy, x, gamma, beta)


def attention(shape, q, k, v, dy):
    return forward_backward(ops.attention, dy, q, k, v)


def softmax(shape, x, dy):
    return forward_backward(lambda x: ops.softmax(x, -1), dy, x)


def forward_backward(function, dy, *inputs):
    """Run it and its gradient to every input."""
    inputs, dy = [Tensor(a, requires_grad=True) for a in inputs], Tensor(dy)

    def run():
        y = function(*inputs)
        return {"y": y.data, **{f"gradient {i}": d.data for i, d in enumerate(grad(y, inputs, dy))}}

    return run


def adamw(shape, p, g):
    """One step of the optimiser over a list of parameters, as `optimizer.step()` is called in training."""
    parameters = [Parameter(a.copy()) for a in p]
    for parameter, gradient in zip(parameters, g):
        parameter.grad = Tensor(gradient)
    optimizer = AdamW(parameters, lr=1e-3, weight_decay=0.01)

    def run():
        optimizer.step()
        return {"first": parameters[0].data, "last": parameters[-1].data}

    return run


BUILD = {"conv": conv, "groupnorm_silu": groupnorm_silu, "attention": attention, "softmax": softmax, "adamw": adamw}
