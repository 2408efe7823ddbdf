"""Is this gradient right? Compare it with the slope that the function itself shows.

    fn: x_1 ... x_n -> y_1 ... y_m        c_k random, of y_k's shape        L(x) = sum_k <fn(x)_k, c_k>

    analytic    <dL/dx_i, d>                                        what backward says, along a random direction d
    numeric     (L(x + h d) - L(x - h d)) / 2h  +  O(h^2)           what the function does

    >>> check_grads(lambda x, w: (x @ w).exp().sum(0), [np.random.randn(4, 3), np.random.randn(3, 2)])

Why c and d are random: summing the outputs, which is c = 1, lets a softmax with a zero gradient pass, since
its outputs sum to 1 whatever x is. A wrong gradient is orthogonal to a random direction with probability 0.

Second order: (x, c) -> dL/dx is a function too, so it is checked in the same way, with respect to x
and to c; and so on, `order` times.

Kinks: where a slope jumps (ReLU at 0), left and right slopes differ and "the" derivative is a
convention that no difference quotient shows. Four slopes tell a kink from a smooth point:

    C(h) = (L(x + h d) - L(x - h d)) / 2h             smooth: C(h) - C(h/2) = O(h^2)
    S(h) = (L(x + h d) - 2 L(x) + L(x - h d)) / h     smooth: S(h) - 2 S(h/2) = O(h^3), because S(h) = h L'' + O(h^3)

A kink at distance q h along d, 0 <= q < 1/2, with a jump J in slope leaves J q / 2 in the first and
J (3q - 1) in the second: never both zero. There, the point is moved a little and tried again.

Source   Griewank and Walther, Evaluating Derivatives, 2008, chapter 3 (the dot-product test);
         deck 004, "Putting it all together" ("then backprop")
"""

import numpy as np

from .autograd import grad
from .device import device_of, to_device
from .tensor import Tensor

ATTEMPTS = 10  # points tried before a function is called rough
MOVE = 1e-2  # how far a point is moved off a kink: far beyond the step, well within a function's domain
ROUNDING = 1e-12  # of a gradient whose terms are of order 1


class GradientError(AssertionError):
    """A gradient is wrong, or cannot be told from the function's behaviour."""


def check_grads(fn, inputs, order=2, *, samples=2, step=1e-5, rtol=1e-6, seed=0):
    """Raise GradientError unless all derivatives of fn up to `order` are right at (or very near) `inputs`.

    fn        takes one Tensor an input, returns a Tensor or a tuple of them; must be deterministic
    inputs    arrays or Tensors, of order 1; floating-point ones are differentiated, in float64; others
              (labels, indices) are handed to fn as they are. fn is given Tensors where the first of them lives;
              points and differences are kept on the CPU
    order     1 or more. Above 1, the gradient recorded for further differentiation (create_graph=True,
              the composed path of a fused operation) must also equal the ordinary one (the fast path)
    samples   random pairs of cotangents and directions; each tests every input alone and all jointly
    step      h
    rtol      allowed difference, relative to sum_j |dL/dx_j d_j|; rounding of L itself is allowed for

    Also checked: inputs are left untouched, a gradient has its input's shape and dtype, and is the same
    whether it is asked for alone or with the others, and whether fn was called elsewhere before backward or not.
    Raises ValueError for an order below 1 or without a floating-point input.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    given = [x.data if isinstance(x, Tensor) else x if hasattr(x, "dtype") else np.asarray(x) for x in inputs]
    places = [i for i, x in enumerate(given) if x.dtype.kind == "f"]
    if not places:
        raise ValueError(f"inputs must hold a floating-point array, got {[str(x.dtype) for x in given]}")

    def function(*floats):
        values = list(inputs)
        for place, x in zip(places, floats):
            values[place] = x
        y = fn(*values)
        return tuple(y) if isinstance(y, (tuple, list)) else (y,)

    device = device_of(given[places[0]])
    points = [to_device(given[i], "cpu").astype(np.float64) for i in places]
    names = [f"input {i}" for i in places]
    rng = np.random.default_rng(seed)
    for level in range(1, order + 1):
        check = Check(function, device, names, level, step, rtol, rng)
        for _ in range(samples):
            points = check.first_order(points, recorded=level < order)
        points = points + check.cotangents(points)
        names = names + [f"cotangent {k} of order {level}" for k in range(len(points) - len(names))]
        function = gradient_of(function, check.inputs)


def gradient_of(function, n):
    """(x_1 ... x_n, c_1 ... c_m) -> (dL/dx_1, ..., dL/dx_n), recorded so that it can be differentiated."""

    def gradient(*arguments):
        xs, cotangents = arguments[:n], arguments[n:]
        return tuple(gradients(function(*xs), xs, cotangents, create_graph=True))

    return gradient


def gradients(ys, xs, cotangents, create_graph):
    """dL/dx for each x; zeros where L does not depend on x."""
    pairs = [(y, c) for y, c in zip(ys, cotangents, strict=True) if y.requires_grad]
    found = [None] * len(xs)
    if pairs:
        found = grad([y for y, _ in pairs], xs, [c for _, c in pairs], create_graph, allow_unused=True)
    return [Tensor(device_of(x.data).xp.zeros_like(x.data)) if g is None else g for g, x in zip(found, xs)]


class Check:
    """The first-order check of one function, which may itself be a gradient: `level` counts how often it is one."""

    def __init__(self, function, device, names, level, step, rtol, rng):
        self.function, self.device, self.names, self.level = function, device, names, level
        self.step, self.rtol, self.rng = step, rtol, rng
        self.inputs = len(names)

    def first_order(self, points, recorded):
        """One random cotangent and direction. Returns the points, moved if they were on a kink."""
        for _ in range(ATTEMPTS):
            if not all(map(np.array_equal, self.evaluate(points), self.evaluate(points))):
                raise GradientError(f"order {self.level}: fn gave two different results for the same inputs")
            cotangents = self.cotangents(points)
            analytic = self.analytic(points, cotangents, recorded)
            directions = [self.rng.standard_normal(x.shape) for x in points]
            if self.agree(points, cotangents, directions, analytic):
                return points
            points = [x + self.rng.uniform(-MOVE, MOVE, x.shape) for x in points]
        raise GradientError(
            f"order {self.level}: fn is rough at each of {ATTEMPTS} points near the inputs: its slope jumps "
            f"within the step {self.step} (kinks everywhere, noise, or float32 inside)"
        )

    def cotangents(self, points):
        return [self.rng.standard_normal(y.shape) for y in self.evaluate(points)]

    def evaluate(self, points):
        """The outputs at a point, as arrays."""
        xs = [self.tensor(x, requires_grad=True) for x in points]
        ys = [y.numpy() for y in self.function(*xs)]
        for name, x, before in zip(self.names, xs, points):
            if not np.array_equal(x.numpy(), before):
                raise GradientError(f"order {self.level}: fn changed {name} in place")
        for k, y in enumerate(ys):
            if y.dtype != np.float64:
                raise GradientError(f"order {self.level}: output {k} is {y.dtype} for float64 inputs")
            if not np.isfinite(y).all():
                raise GradientError(f"order {self.level}: output {k} is not finite near the inputs: fn's domain?")
        return ys

    def tensor(self, x, requires_grad=False):
        return Tensor(to_device(x.copy(), self.device), requires_grad)

    def loss(self, points, cotangents):
        """L, and the size of its terms, which bounds its rounding error (what fn computes inside is of order 1)."""
        pairs = list(zip(self.evaluate(points), cotangents))
        return sum((y * c).sum() for y, c in pairs), sum(((1 + abs(y)) * abs(c)).sum() for y, c in pairs)

    # ------------------------------------------------------------ what backward says

    def analytic(self, points, cotangents, recorded):
        """dL/dx_i as arrays, after comparing every way there is of asking for them."""
        everyone = list(range(self.inputs))
        result = self.backward(points, cotangents, everyone, create_graph=False)
        ways = [("with create_graph=True", everyone, True)] if recorded else []
        if self.inputs > 1:
            modes = [False, True] if recorded else [False]
            ways += [("when asked for alone", [i], mode) for i in everyone for mode in modes]
        for how, asked, mode in ways:
            for i, other in zip(asked, self.backward(points, cotangents, asked, mode)):
                difference = abs(result[i] - other)
                if not (difference <= self.rtol * abs(result[i]).max(initial=0.0) + ROUNDING).all():
                    worst = np.unravel_index(np.argmax(difference), other.shape)
                    raise GradientError(
                        f"order {self.level}: the gradient of {self.names[i]} {how} differs from the ordinary one: "
                        f"{other[worst]} against {result[i][worst]} at {tuple(map(int, worst))}"
                    )
        return result

    def backward(self, points, cotangents, asked, create_graph):
        """The gradients of the inputs numbered in `asked`, as arrays."""
        xs = [self.tensor(x, requires_grad=True) for x in points]
        seeds = [self.tensor(c) for c in cotangents]
        ys = self.function(*xs)
        self.evaluate([x + MOVE for x in points])  # an operation that keeps its state in a shared place is found out
        results = [g.numpy() for g in gradients(ys, [xs[i] for i in asked], seeds, create_graph)]
        for what, tensors, before in (("inputs", xs, points), ("cotangents", seeds, cotangents)):
            if not all(np.array_equal(t.numpy(), b) for t, b in zip(tensors, before)):
                raise GradientError(f"order {self.level}: backward changed the {what} in place")
        for i, g in zip(asked, results):
            if g.shape != points[i].shape or g.dtype != np.float64:
                raise GradientError(
                    f"order {self.level}: the gradient of {self.names[i]} is {g.dtype}{g.shape}, "
                    f"expected float64{points[i].shape}"
                )
        return results

    # ------------------------------------------------------------ what the function does

    def agree(self, points, cotangents, directions, analytic):
        """Compare along each input's direction, then along all jointly. False at a kink."""
        choices = [[i] for i in range(self.inputs)] + ([list(range(self.inputs))] if self.inputs > 1 else [])
        for chosen in choices:
            path = [d if i in chosen else None for i, d in enumerate(directions)]
            numeric, roughness, rounding = self.slope(points, cotangents, path)
            products = [(analytic[i] * directions[i]).ravel() for i in chosen]
            expected = sum(p.sum() for p in products)
            allowed = self.rtol * max(sum(abs(p).sum() for p in products), abs(numeric)) + rounding
            if roughness > allowed:
                return False
            if not abs(numeric - expected) <= allowed:
                where = self.names[chosen[0]] if len(chosen) == 1 else "all inputs jointly"
                detail = self.worst_element(points, cotangents, chosen[0], analytic) if len(chosen) == 1 else ""
                raise GradientError(
                    f"order {self.level}: the gradient of {where} is wrong along a random direction: "
                    f"analytic {expected:.10g}, numeric {numeric:.10g}, difference {abs(numeric - expected):.2g}, "
                    f"allowed {allowed:.2g}{detail}"
                )
        return True

    def slope(self, points, cotangents, path):
        """The slope C(h/2) of L along a path, its roughness |C(h) - C(h/2)| + |S(h) - 2 S(h/2)|, and its rounding."""
        h = self.step

        def at(t):
            return self.loss([x if d is None else x + t * d for x, d in zip(points, path)], cotangents)

        middle, terms = at(0)
        far_left, left, right, far_right = (at(t)[0] for t in (-h, -h / 2, h / 2, h))
        roughness = abs((far_right - far_left) / (2 * h) - (right - left) / h)
        roughness += abs((far_right - 2 * middle + far_left) / h - 2 * (right - 2 * middle + left) / (h / 2))
        return (right - left) / h, roughness, 100 * np.finfo(np.float64).eps * terms / h

    def worst_element(self, points, cotangents, i, analytic):
        """Where in input i the gradient is most wrong, for the message; looked for in small inputs only."""
        if not 1 < points[i].size <= 200:
            return ""
        numeric = np.zeros_like(points[i])
        for j in np.ndindex(points[i].shape):
            unit = np.zeros_like(points[i])
            unit[j] = 1
            numeric[j] = self.slope(points, cotangents, [unit if k == i else None for k in range(self.inputs)])[0]
        worst = np.unravel_index(np.argmax(abs(numeric - analytic[i])), numeric.shape)
        said, seen = analytic[i][worst], numeric[worst]
        return f"; most wrong at element {tuple(map(int, worst))}: analytic {said:.10g}, numeric {seen:.10g}"
