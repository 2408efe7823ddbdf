"""The tape: how a computation remembers itself, and how the chain rule walks it backwards.

Every result knows the operation that made it, and every operation knows where its inputs came from.
That is a graph; `backward` visits it from the result to the leaves and multiplies Jacobians:

    y = f(x1, x2)        g = dL/dy        dL/dx1 = (df/dx1)^T g        dL/dx2 = (df/dx2)^T g

A *node* of the graph is an operation, or a leaf tensor (one that no recorded operation made). An
operation has one result, so "the gradient of a node" is the gradient of that result.

Two kinds of operation:

* `Operation`, plain: `backward` is written with Tensor operations. It can therefore be recorded like
  any other computation and differentiated again, to any order.
* `Fused`: `forward` and `backward_fast` are hand-written kernels on arrays. `composed` says the same mathematics in
  Tensor operations, and is what runs when the caller wants a graph of the gradient (`create_graph=True`). So no
  second derivative is ever derived by hand, and `fused == composed` is a test.

Source: Baydin et al., Automatic Differentiation in Machine Learning: a Survey, JMLR 2018, section 3.2.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from .tensor import Tensor, as_tensors, cotangent

_recording = ContextVar("recording", default=True)
_numbers = count()  # of the operations that are recorded, in the order in which they run


class NoDerivative(RuntimeError):
    """An operation was asked for a derivative that it does not have."""


@contextmanager
def grad_mode(enabled):
    """Record operations, or do not, inside the block."""
    token = _recording.set(enabled)
    try:
        yield
    finally:
        _recording.reset(token)


def no_grad():
    """Inside `with no_grad():` nothing is recorded: for sampling, evaluation and optimiser steps."""
    return grad_mode(False)


def is_recording():
    return _recording.get()


class Operation:
    """One differentiable step. Parameters that are not differentiated (axes, masks, labels) go to the constructor.

    A subclass writes `forward(*arrays) -> array` and `backward(g, needs, *inputs) -> one gradient an input`, where
    `needs[i]` says whether input i wants one (None is right for those that do not). What forward computes and
    backward wants again goes through `self.save`, so that it is freed with the rest.
    """

    keeps_inputs = True  # False: backward needs the inputs' shapes only, so their arrays may go
    adds_to_first = False  # True: to input 0's gradient backward_fast adds `so_far`, what came there by other ways
    inputs = saved = parents = ()
    freed, so_far = False, None

    def __call__(self, *inputs):
        inputs = as_tensors(type(self).__name__, inputs)
        result = Tensor(self.forward(*[x.data for x in inputs]))
        self.shapes = [x.shape for x in inputs]
        if is_recording() and any([x.requires_grad for x in inputs]):
            self.number = next(_numbers)
            self.parents = [node(x) if x.requires_grad else None for x in inputs]
            self.inputs = inputs if self.keeps_inputs else ()
            self.versions = [x.version for x in self.inputs]
            result.op, result.requires_grad = self, True
        return result

    def backward(self, g, needs, *inputs):
        raise NoDerivative(f"{type(self).__name__} has no derivative")

    def save(self, *arrays):
        self.saved = arrays

    def output(self):
        """The saved result, again a node of this graph. (Saving the Tensor itself would tie a reference cycle.)"""
        y = Tensor(self.saved[0])
        y.op, y.requires_grad = self, True
        return y

    def gradients(self, g, needs):
        """Gradients with respect to the inputs, checked for the mistakes that would stay silent."""
        name = type(self).__name__
        for i, x in enumerate(self.inputs):
            if x.version != self.versions[i]:
                raise RuntimeError(
                    f"input {i} of {name} (shape {x.shape}) was changed in place after it was used "
                    f"(version {x.version}, recorded {self.versions[i]}): compute the result again before backward"
                )
        grads = self.backward(g, needs, *self.inputs)
        grads = grads if isinstance(grads, (tuple, list)) else (grads,)
        for i, (dx, need, shape) in enumerate(zip(grads, needs, self.shapes, strict=True)):
            if need and (dx is None or dx.shape != shape):
                raise RuntimeError(f"{name}.backward gave {getattr(dx, 'shape', None)} for input {i} of shape {shape}")
        return grads

    def free(self):
        self.inputs = self.saved = self.parents = ()
        self.freed, self.so_far = True, None


class Fused(Operation):
    """A fast kernel pair with a composed twin: see the module's docstring."""

    def composed(self, *inputs):
        raise NoDerivative(f"{type(self).__name__} has no second derivative")

    def backward(self, g, needs, *inputs):
        if not is_recording():
            grads = self.backward_fast(g.data, needs, *[x.data for x in inputs])
            return [None if dx is None else Tensor(dx) for dx in grads]
        # Partial derivatives: each input gets a proxy, lest one that depends on another, or is it, be counted twice.
        proxies = [Identity()(x) for x in inputs]
        wanted = [p for p, need in zip(proxies, needs) if need]
        found = iter(grad(self.composed(*proxies), wanted, g, create_graph=True))
        return [next(found) if need else None for need in needs]


class Identity(Operation):
    """y = x, as a new node."""

    keeps_inputs = False

    def forward(self, x):
        return x

    def backward(self, g, needs):
        return g


def node(x):
    """Where x hangs in the graph: at the operation that made it, or at itself."""
    return x if x.op is None else x.op


def topological_order(outputs, targets):
    """The operations between outputs and targets, each before the ones that made its inputs; and the ids of all
    nodes on the way. Branches that reach no target are left out: what nobody asked for is not computed.
    What made an operation's inputs ran before it did: the last to run comes first, and the order is topological.
    """
    reached, stack = {}, list(outputs)
    while stack:
        n = stack.pop()
        if id(n) not in reached:
            reached[id(n)] = n
            stack += parents_of(n)
    order = sorted([n for n in reached.values() if isinstance(n, Operation)], key=lambda n: n.number)
    if targets is None:
        return order[::-1], reached.keys()
    on_the_way = {id(t) for t in targets}
    for n in order:  # parents come first
        if any(id(p) in on_the_way for p in parents_of(n)):
            on_the_way.add(id(n))
    return [n for n in reversed(order) if id(n) in on_the_way], on_the_way


def parents_of(n):
    """The nodes that n's gradient goes to. Raises RuntimeError where an earlier backward has freed them."""
    if isinstance(n, Tensor):
        return ()
    if n.freed:
        raise RuntimeError(
            f"the arrays that {type(n).__name__} saved were freed by an earlier backward: "
            "pass retain_graph=True to that one, or compute the result again"
        )
    return [p for p in n.parents if p is not None]


def propagate(outputs, grad_outputs, targets, create_graph, retain_graph):
    """Gradients of sum_k <grad_outputs[k], outputs[k]>, as {id(node): (node, gradient)} for leaves and targets."""
    retain_graph, grads = create_graph if retain_graph is None else retain_graph, {}

    def accumulate(n, g):
        grads[id(n)] = (n, g if id(n) not in grads else grads[id(n)][1] + g)

    kept = {id(t) for t in targets or ()}
    order, on_the_way = topological_order([node(y) for y in outputs], targets)
    with grad_mode(create_graph):
        for y, g in zip(outputs, grad_outputs):
            accumulate(node(y), g)
        for op in order:
            g = grads[id(op)][1] if id(op) in kept else grads.pop(id(op))[1]
            needs = [id(parent) in on_the_way for parent in op.parents]
            if any(needs):
                if op.adds_to_first and not create_graph:
                    op.so_far = grads.pop(id(op.parents[0]), (None, None))[1]
                for parent, dx, need in zip(op.parents, op.gradients(g, needs), needs):
                    if need:
                        accumulate(parent, dx)
            if not retain_graph:
                op.free()
    return grads


def backward(y, g=None, create_graph=False, retain_graph=None):
    """Add dL/dx to `x.grad` of every leaf x that y depends on, where L = <g, y> (g = 1 for a scalar y).

    Why the order is topological. In the diamond  x -> a, x -> b, y = a + b,  x is reached twice:

              a
            /   \\
          x       y        dy/dx = da/dx + db/dx
            \\   /
              b

    x's own gradient may be passed on only when *both* contributions have arrived. Visiting each node
    after all of its consumers, which is what a topological order is, makes that so.

    Why calling it twice accumulates. `x.grad` is a sum over everything that x was used for, and one call cannot know
    whether another loss will follow (two losses, or a batch in two halves, add up). So gradients are added, and
    `zero_grad` starts a new sum. To get a gradient without touching `.grad`, use `grad`.

    Raises ValueError for a non-scalar y without g; RuntimeError when the graph was freed or is stale.
    """
    found = propagate([y], [cotangent(y, g)], None, create_graph, retain_graph)
    for leaf, total in found.values():
        if isinstance(leaf, Tensor):
            leaf.grad = total if leaf.grad is None else leaf.grad + total


def grad(outputs, inputs, grad_outputs=None, create_graph=False, retain_graph=None, allow_unused=False):
    """d<grad_outputs, outputs>/d(inputs), as a list of Tensors; `.grad` stays untouched.

    With create_graph the gradients are themselves recorded, so they can be differentiated again.
    Raises ValueError where an input has no influence on the outputs (None instead with allow_unused).
    """
    outputs, inputs = as_list(outputs), as_list(inputs)
    grad_outputs = [None] * len(outputs) if grad_outputs is None else as_list(grad_outputs)
    seeds = [cotangent(y, g) for y, g in zip(outputs, grad_outputs, strict=True)]
    found = propagate(outputs, seeds, [node(x) for x in inputs], create_graph, retain_graph)
    for i, x in enumerate(inputs):
        if id(node(x)) not in found and not allow_unused:
            about = f"shape {x.shape}, requires_grad={x.requires_grad}"
            raise ValueError(f"input {i} of grad ({about}) does not influence the outputs")
    return [found.get(id(node(x)), (None, None))[1] for x in inputs]


def as_list(x):
    return [x] if isinstance(x, Tensor) else list(x)
