"""Where did the NaN come from? The first module whose output is not finite, found by running the step again.

NaN and infinity spread: once one layer makes them, every later layer and the loss hold them too. So the
layer to look at is the first in the order of computation. The failed step has changed no weight, and its
random numbers are known, so it can be repeated with a watcher behind every module.
"""

from ..device import device_of
from ..nn import watch
from ..tensor import Tensor
from .task import NonFinite


def first_nonfinite_layer(task, batches, index, generator_state):
    """The path of the module that first gave a NaN or infinity in step `index`: "unet.down.0.block.conv1 (Conv2d)".

    Inner modules come before those that hold them. None where every module's output is finite.
    """
    paths = {
        id(module): f"{name}.{path}" if path else name
        for name, network in task.networks.items()
        for path, module in network.named_modules()
    }
    found = []

    def look(module, result):
        if not found and isinstance(result, Tensor) and not is_finite(result):
            found.append(f"{paths.get(id(module), 'a module outside the networks')} ({type(module).__name__})")

    task.generator.load_state(generator_state)
    try:
        with watch(look):
            task.step(batches, index)
    except NonFinite:
        pass  # the failure under examination
    return found[0] if found else None


def first_nonfinite_gradient(task):
    """The path of a parameter whose gradient holds a NaN or infinity, or None. The last in the order of names.

    Gradients flow from the loss backwards, so the last layer that has one is nearest to where it arose.
    """
    bad = [
        f"{name}.{path}"
        for name, network in task.networks.items()
        for path, parameter in network.named_parameters()
        if parameter.grad is not None and not is_finite(parameter.grad)
    ]
    return bad[-1] if bad else None


def is_finite(tensor):
    return bool(device_of(tensor.data).xp.isfinite(tensor.data).all())
