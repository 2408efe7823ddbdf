"""The order meter: how fast the error of each deterministic sampler falls with its steps, under an exact score.

Two kinds of data whose score is a formula, so that nothing is trained and the only error is the solver's:

    gaussian   N(0.7, 0.3^2):  the probability-flow ODE keeps (x_t - mean_t) / std_t
    mixture    the 1-D mixture of data/toy.py: it keeps the probability below x_t, so x_0 is the quantile of that

The slope of log error against log steps is the order: -1 for DDIM and Euler, -2 for Heun and DPM-Solver++(2M). The
schedule is the linear one, and levels are spaced quadratically, which keeps a step's size in noise per signal about
even near the data. T = 400^2, so that 400 steps still find room there: at T = 1000 it is the whole levels that set the
limit, not the solver.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from minigen.data import Mixture1d
from minigen.diffusion import SAMPLERS, GaussianDiffusion, make_schedule
from minigen.random import Generator

STEPS = [10, 20, 40, 50, 100, 200, 400]
FITTED_FROM = 50
SLOPES = {"ddim": -1, "euler": -1, "heun": -2, "dpm++": -2}
CALLS = {"ddim": int, "euler": int, "heun": lambda steps: 2 * steps - 1, "dpm++": int}  # of the network
PROCESS = GaussianDiffusion(make_schedule("linear", 160_000))
STARTS = np.array([-1.5, -0.6, 0.4, 1.7])
DATA = {"gaussian": Mixture1d((0.7,), (0.3,), (1.0,)), "mixture": Mixture1d()}


def errors(name, data, steps):
    """The largest error over a few starting points at level T, one for each number of steps."""
    mixture = DATA[data]
    exact = np.array([solution(mixture, x) for x in STARTS])

    def model(x, t):
        return mixture.best_eps(x, PROCESS.schedule.alpha_bar[t[0]])

    sample = SAMPLERS[name]
    return [np.abs(sample(PROCESS, model, STARTS, Generator(0), n, spacing="quadratic") - exact).max() for n in steps]


def solution(mixture, x_T):
    """Where the probability-flow ODE ends that starts at x_T: the quantile of the same probability."""
    top = mixture.marginal(PROCESS.schedule.alpha_bar[PROCESS.T])
    return brentq(lambda x: log_odds(mixture, x) - log_odds(top, x_T), -10, 10, xtol=1e-14)


def log_odds(mixture, x):
    """log P(X < x) / P(X > x): exact in both tails."""
    z = (x - np.array(mixture.mu)) / np.array(mixture.sigma)
    return math.log((mixture.w * norm.cdf(z)).sum()) - math.log((mixture.w * norm.sf(z)).sum())


def slope(steps, found):
    """Of the straight line through log error against log steps."""
    return float(np.polyfit(np.log(steps), np.log(found), 1)[0])


def measure():
    """{data: {sampler: {"steps", "calls", "errors", "slope"}}}"""
    rows = {}
    for data in DATA:
        rows[data] = {}
        for name in SLOPES:
            found = errors(name, data, STEPS)
            fitted = [n >= FITTED_FROM for n in STEPS]
            rows[data][name] = {
                "steps": STEPS,
                "calls": [CALLS[name](n) for n in STEPS],
                "errors": found,
                "slope": slope(np.array(STEPS)[fitted], np.array(found)[fitted]),
            }
    return rows


def plot(rows, path):
    """Error against calls of the network, a panel for each kind of data."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(rows), figsize=(9, 4), sharey=True, layout="constrained")
    for axis, (data, samplers) in zip(axes, rows.items()):
        for name, row in samplers.items():
            style = "--" if name == "euler" else "-"
            axis.loglog(row["calls"], row["errors"], f"o{style}", label=f"{name}, slope {row['slope']:.2f}", ms=4)
        axis.set(title=f"{data} data, exact score", xlabel="calls of the network")
        axis.legend()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("largest error at level 0")
    figure.savefig(path, dpi=120)
