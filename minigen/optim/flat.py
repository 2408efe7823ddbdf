"""All parameters as one vector.

An optimiser does the same small arithmetic to every weight. Over one contiguous vector that is one
kernel call; over 150 tensors of mixed sizes it is 150. So the parameters move into one buffer, and
each keeps a view of its own part under its own shape: reading and writing go through either.
"""

from ..device import device_of


class FlatParameters:
    """`data`, a vector that holds every parameter; the parameters become views of it."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("parameters must hold at least one parameter, got none")
        if len({id(p) for p in self.parameters}) != len(self.parameters):
            raise ValueError("parameters holds the same parameter twice")
        dtypes, devices = {p.dtype for p in self.parameters}, {p.device for p in self.parameters}
        if len(dtypes) > 1 or len(devices) > 1:
            raise TypeError(
                f"parameters must share one dtype and one device, got {sorted(map(str, dtypes))} on {sorted(devices)}"
            )
        xp = device_of(self.parameters[0].data).xp
        self.data = xp.concatenate([p.data.reshape(-1) for p in self.parameters])
        for p, part in self.views(self.data):
            p.data = part

    def views(self, vector):
        """(parameter, its part of the vector under its shape) for every parameter."""
        start = 0
        for p in self.parameters:
            yield p, vector[start : start + p.size].reshape(p.shape)
            start += p.size

    def gradients(self):
        """Every `p.grad` as a vector; parameters without one count as 0. They stay where backward left them: copying
        them end to end would take a third of the time of a step. On a GPU it takes less than a launch for each."""
        xp = device_of(self.data).xp
        grads = [xp.zeros_like(p.data) if p.grad is None else p.grad.data for p in self.parameters]
        parts = [xp.ascontiguousarray(g).reshape(-1) for g in grads]
        return [xp.concatenate(parts)] if self.parameters[0].device == "cuda" else parts

    def changed(self):
        """Tell the tape that the values moved on."""
        for p in self.parameters:
            p.version += 1

    def zeros(self):
        return device_of(self.data).xp.zeros_like(self.data)
