"""What a diffusion model does, as pictures: on the way to noise, and back.

    forward       test images on their way into noise
    backward      noise on its way to images, and at each level the image that the network sees in it
    denoising     the same for many images, as a GIF
    steps         the same noise in ever more steps, by each deterministic sampler
    interpolate   from one test image to another: noise between their noises, decoded
    bound         the terms of the likelihood bound, level by level

Each takes (model, data, generator): a DDPM; an ImageSet; where random numbers come from.

Source   Ho et al., DDPM, 2020, figures 2, 6, 8; Song et al., DDIM, 2021, figures 5, 6; Nichol and Dhariwal, Improved
         DDPM, 2021, figure 2; decks 001 "Diffusion Model is Iterative Denoising", 003 "From DDPM to DDIM, example
         results"
"""

import numpy as np

from ..autograd import no_grad
from ..data import to_model_range
from ..device import to_device
from ..diffusion import SAMPLERS, ddim_invert, ddim_levels, ddim_sample, ddim_step
from ..diffusion.likelihood import bits_per_dim, reverse_term
from ..diffusion.samplers import estimates, predict
from ..models.latent import slerp
from ..report import image_grid
from .style import new_figure, plain, show_rows

HELD = 20  # frames that a GIF stays at its end


# ---------------------------------------------------------------- one way and back


def forward(model, data, generator, shown=4, columns=9):
    """`shown` test images at levels from 0 to T. Above each column: t and alpha_bar, the share of variance left."""
    process, levels = model.process, shares(model.process.T, columns)
    x0 = to_model_range(data.images[:shown])
    eps = generator.normal(x0.shape)
    noisy = [x0 if t == 0 else process.q_sample(x0, np.full(len(x0), t), eps) for t in levels]
    figure = new_figure(columns * 0.8, shown * 0.8 + 0.7, f"Into noise: {model.config.schedule} schedule")
    names = [f"{t}\n{process.schedule.alpha_bar[t]:.2g}" for t in levels]
    show_rows(figure.add_subplot(), np.stack(noisy, axis=1), columns=names, gap=2)
    return figure


def backward(model, data, generator, shown=3, columns=9, steps=50, eta=1.0):
    """`shown` samples at levels from T to 0: x_t, and below it x0_hat, what the network sees in it."""
    steps = min(steps, model.process.T)
    wanted = set(shares(steps, columns))
    path = [state for i, state in enumerate(reversed(trajectory(model, shown, generator, steps, eta))) if i in wanted]
    levels, x, guesses = zip(*reversed(path))
    images = np.empty((2 * shown, len(levels), *x[0].shape[1:]), np.float32)
    images[0::2], images[1::2] = np.stack(x, axis=1), np.stack(guesses, axis=1)
    figure = new_figure(columns * 0.8, shown * 1.6 + 0.7, f"Out of noise: DDIM, {steps} steps, eta {eta:g}")
    show_rows(figure.add_subplot(), images, ["x_t", "x0_hat"] * shown, [f"t = {t}" for t in levels], gap=2)
    return figure


def denoising(model, data, generator, shown=12, columns=6, steps=50, eta=1.0):
    """`shown` samples taking shape, a frame a step: a list of images for a GIF."""
    frames = [image_grid(x, columns) for _, x, _ in trajectory(model, shown, generator, steps, eta)]
    return frames + [frames[-1]] * HELD


def trajectory(model, n, generator, steps, eta):
    """[(level, x, x0_hat)] of n samples at every level that DDIM visits, T first; at level 0 x0_hat is x."""
    process, x = model.process, generator.normal((n, *model.image_shape), device=model.config.device)
    levels, states = ddim_levels(process.T, min(steps, process.T)), []
    for level, next_level in zip(levels, levels[1:]):
        output = predict(model.network, x, level)
        states.append((level, x, estimates(process, x, output, level, clip_x0=True)[0]))
        noise = generator.normal(x.shape, device=model.config.device) if eta > 0 and next_level > 0 else None
        x = ddim_step(process, x, output, level, next_level, eta, noise, clip_x0=True)
    return [(level, to_device(x, "cpu"), to_device(x0, "cpu")) for level, x, x0 in [*states, (0, x, x)]]


def shares(n, parts):
    """`parts` whole numbers from 0 to n, evenly spread."""
    return np.rint(np.linspace(0, n, parts)).astype(int).tolist()


# ---------------------------------------------------------------- few steps and many


def steps(model, data, generator, shown=8, counts=(5, 10, 20, 50)):
    """The same `shown` noises, a row for each sampler and number of steps; the network's calls before the row."""
    noise = generator.normal((shown, *model.image_shape), device=model.config.device)
    names, rows = [], []
    for sampler in ("ddim", "dpm++", "heun"):
        for count in sorted({min(count, model.process.T) for count in counts}):
            taken = (count + 1) // 2 if sampler == "heun" else count  # Heun calls twice a step
            drawn = SAMPLERS[sampler](model.process, model.network, noise, generator, taken, clip_x0=True)
            rows.append(to_device(drawn, "cpu"))
            names.append(f"{sampler} {2 * taken - 1 if sampler == 'heun' else taken}")
    figure = new_figure(shown * 0.6 + 0.9, len(rows) * 0.6 + 0.5, "The same noise; sampler and calls of the network")
    show_rows(figure.add_subplot(), np.stack(rows), names, gap=2)
    return figure


# ---------------------------------------------------------------- between two images


def interpolate(model, data, generator, pairs=4, columns=9, steps=50, rounds=3):
    """Pairs of test images, inverted to their noise; noise between the two on the great circle, decoded.

    The first and last columns are the test images themselves, so that the second and last but one show the way there
    and back. Measured: the error of that way.
    """
    x0, device, steps = to_model_range(data.images[: 2 * pairs]), model.config.device, min(steps, model.process.T)
    noise = ddim_invert(model.process, model.network, to_device(x0, device), steps, rounds)
    noise = to_device(noise, "cpu")
    fractions = np.linspace(0, 1, columns)
    between = np.stack([slerp(noise[:pairs], noise[pairs:], f) for f in fractions], axis=1).astype(np.float32)
    flat = to_device(between.reshape(-1, *x0.shape[1:]), device)
    decoded = to_device(ddim_sample(model.process, model.network, flat, generator, steps), "cpu").reshape(between.shape)
    error = np.abs(np.concatenate([decoded[:, 0], decoded[:, -1]]) - x0).mean()
    images = np.concatenate([x0[:pairs, None], decoded, x0[pairs:, None]], axis=1)
    names = ["image", *(f"{f:.2f}" for f in fractions), "image"]
    heading = f"Between the noises of two images: DDIM, {steps} steps, {rounds} rounds of inversion a step"
    measured = f"mean absolute error there and back, pixels in [−1, 1]: {error:.2g}"
    figure = new_figure(len(names) * 0.7, pairs * 0.7 + 0.8, heading, measured)
    show_rows(figure.add_subplot(), images, columns=names, gap=2)
    return figure


# ---------------------------------------------------------------- likelihood


def bound(model, data, generator, n=64, levels=40):
    """L_{t-1} against t, in bits a dimension a level, mean over n test images; levels spread evenly in log t."""
    process, x0 = model.process, to_device(to_model_range(data.images[:n]), model.config.device)
    chosen = np.unique(np.rint(np.geomspace(1, process.T, levels)).astype(int))
    size, variance = int(np.prod(model.image_shape)), model.variance(fixed="posterior")
    values = []
    for level in chosen:
        t, eps = np.full(len(x0), level), generator.normal(x0.shape, device=model.config.device)
        xt = process.q_sample(x0, t, eps)
        with no_grad():
            prediction, share = process.split(predict(model.network, xt, level).astype(np.float64))
            term = reverse_term(process, prediction, share, *(a.astype(np.float64) for a in (x0, xt)), t, variance)
        values.append(bits_per_dim(term.data.mean().item(), size))
    figure = new_figure(5, 3.4, f"Terms of the bound, {len(x0)} test images", f"variance of the steps: {variance}")
    axes = plain(figure.add_subplot())
    axes.loglog(chosen, values, ".-")
    axes.set(xlabel="t", ylabel="bits a dimension, L at t - 1")
    return figure
