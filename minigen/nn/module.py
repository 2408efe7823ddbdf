"""Module: a function with parameters.

A module is an ordinary object. Its parameters are found by looking at its attributes, so nothing has
to be registered: a `Parameter`, a `Buffer` (state that is saved but not trained), another module, or
a list or dict of those. Dotted names follow the attributes: `down.0.norm1.gamma`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..device import overwrite, to_device
from ..tensor import Tensor

_watcher: ContextVar = ContextVar("watcher", default=None)


class Parameter(Tensor):
    """A leaf tensor that training changes."""

    __slots__ = ()

    def __init__(self, data):
        super().__init__(data, requires_grad=True)

    def assign(self, array):
        """Overwrite the values in place. A graph that was recorded with the old ones is refused from now on."""
        overwrite(self.data, array)
        self.version += 1


class Buffer:
    """An array that belongs to a module's state and is not trained, such as a running mean."""

    def __init__(self, data):
        self.data = data


class Module:
    """Base of all networks: write `__init__` (make the parts) and `forward` (use them)."""

    training = True

    def forward(self, *inputs):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs, **options):
        result = self.forward(*inputs, **options)
        callback = _watcher.get()
        if callback is not None:
            callback(self, result)
        return result

    # ---------------------------------------------------------------- the parts

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the modules directly inside this one."""
        return ((name, part) for name, part in _parts(self) if isinstance(part, Module))

    def named_modules(self, prefix="") -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this module ("") and everything inside it."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of everything that is trained, each once."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(dotted name, buffer) of the state that is saved but not trained."""
        return self._named(Buffer)

    def _named(self, kind) -> Iterator[tuple[str, Any]]:
        seen = set()
        for prefix, module in self.named_modules():
            for name, part in _parts(module):
                if isinstance(part, kind) and id(part) not in seen:
                    seen.add(id(part))
                    yield (f"{prefix}.{name}" if prefix else name), part

    def parameters(self) -> list[Parameter]:
        return [parameter for _, parameter in self.named_parameters()]

    # ---------------------------------------------------------------- modes and state

    def train(self, training=True):
        """Training mode (dropout active, batch statistics) for this module and all inside it."""
        for _, module in self.named_modules():
            module.training = training
        return self

    def eval(self):
        """Evaluation mode: no dropout, running statistics."""
        return self.train(False)

    def requires_grad(self, wanted=True):
        """Train the parameters, or freeze them: frozen weights cost nothing in backward."""
        for parameter in self.parameters():
            parameter.requires_grad = wanted
        return self

    def zero_grad(self):
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device):
        """Move every parameter and buffer to 'cpu' or 'cuda'. Make optimisers afterwards: they hold the arrays."""
        for part in (*self._named(Parameter), *self._named(Buffer)):
            part[1].data = to_device(part[1].data, device)
        return self

    def astype(self, dtype):
        """Turn every parameter and buffer into float32 or float64 (gradient checks want float64)."""
        for part in (*self._named(Parameter), *self._named(Buffer)):
            part[1].data = part[1].data.astype(dtype)
        return self

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer by dotted name, as NumPy copies."""
        parts = (*self._named(Parameter), *self._named(Buffer))
        return {name: np.array(to_device(part.data, "cpu")) for name, part in parts}

    def load_state_dict(self, state):
        """Copy the arrays of `state` into this module. Raises ValueError for names or shapes that differ."""
        parts: dict[str, Any] = dict((*self.named_parameters(), *self.named_buffers()))
        missing, unexpected = sorted(parts.keys() - state.keys()), sorted(state.keys() - parts.keys())
        if missing or unexpected:
            raise ValueError(
                f"state does not fit {type(self).__name__}: missing {missing[:5]}, unexpected {unexpected[:5]}"
            )
        for name, part in parts.items():
            if part.data.shape != state[name].shape:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape}, but the module's is {part.data.shape}"
                )
        for name, part in parts.items():
            if isinstance(part, Parameter):
                part.assign(state[name])
            else:
                overwrite(part.data, state[name])

    # ---------------------------------------------------------------- printing

    def describe(self):
        """What this module says of itself on one line; layers override it with their sizes."""
        return ""

    def __repr__(self):
        own = [f"{name} {tuple(p.shape)}" for name, p in _parts(self) if isinstance(p, Parameter)]
        total = sum(p.size for p in self.parameters())
        line = f"{type(self).__name__}({', '.join(filter(None, [self.describe(), *own]))})"
        line += f"  # {total:,} parameters" if total else ""
        inside = [f"  {name}: " + repr(child).replace("\n", "\n  ") for name, child in self.children()]
        return "\n".join([line, *inside])


class Sequential(Module):
    """Modules and functions applied one after the other."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@contextmanager
def watch(callback):
    """Call callback(module, result) after every module call in the block, inner modules first."""
    token = _watcher.set(callback)
    try:
        yield
    finally:
        _watcher.reset(token)


def _parts(module):
    """(name, part) of a module's attributes, with lists and dicts opened."""
    for name, value in vars(module).items():
        if isinstance(value, (Module, Parameter, Buffer)):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, (Module, Parameter, Buffer)))
        elif isinstance(value, dict):
            yield from ((f"{name}.{k}", v) for k, v in value.items() if isinstance(v, (Module, Parameter, Buffer)))
