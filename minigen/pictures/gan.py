"""Pictures of GANs: what the latent space holds, what the discriminator says, and how training goes wrong.

`interpolation`, `truncation` and `classes` draw from the run's own generator. `vanishing`, `toy` and `evolution` train
anew by the run's settings and on its training data, to show what a finished run no longer does: a minute or so each.
"""

from dataclasses import replace

import numpy as np

from ..models.gan.losses import LOSSES, Minimax, NonSaturating
from ..models.latent import cos_sin, lerp, slerp, truncated_normal
from ..report import image_grid
from ..train.start import prepare
from . import PictureError

PATHS = {"lerp": lerp, "cos, sin": cos_sin, "slerp": slerp}


def need(wanted, what, model):
    """Raises PictureError unless samples have so many axes: 3 for images, 1 for points."""
    if len(model.image_shape) != wanted:
        raise PictureError(f"this picture shows {what}, but the model's samples have shape {model.image_shape}")


def need_logit(what, model):
    """Raises PictureError unless the score is a logit."""
    if not LOSSES[model.config.loss].is_logit:
        raise PictureError(f"this picture shows {what}, but the score of {model.config.loss} is not a logit")


# ---------------------------------------------------------------- the generator


def interpolation(model, data, generator, pairs=4, columns=10):
    """From one latent vector to another, three ways: for each pair a row of lerp, one of cos and sin, one of slerp."""
    need(3, "images", model)
    ends = generator.normal((2, pairs, model.latent))
    s = np.linspace(0, 1, columns)
    z = np.stack([[path(*ends, t) for t in s] for path in PATHS.values()])  # (paths, columns, pairs, latent)
    z = np.moveaxis(z, 2, 0)
    labels = np.repeat(np.arange(pairs) % model.classes, 3 * columns) if model.classes else None
    return image_grid(model.generate(z.reshape(-1, model.latent).astype(np.float32), labels), columns)


def truncation(model, data, generator, limits=(0.0, 2.0, 1.0, 0.5, 0.2), n=10):
    """Samples with |z_i| <= tau: a row of images, or a panel of points, for every tau; 0 stands for no limit."""
    if len(model.image_shape) == 3:
        rows = [model.sample(n, seed=generator.child(str(tau)), truncation=tau) for tau in limits]
        return image_grid(np.concatenate(rows), n)
    need(1, "images or points", model)
    figure, panels = row_of_panels(len(limits))
    for axes, tau in zip(panels, limits):
        scatter(axes, data.images[:1000], "0.8")
        scatter(axes, model.sample(1000, seed=generator.child(str(tau)), truncation=tau), "tab:blue")
        axes.set_title(f"tau = {tau:g}" if tau else "no limit")
    return figure


def classes(model, data, generator, columns=10):
    """A row for every class (infogan: code), a column for every z."""
    need(3, "images", model)
    if not model.classes:
        raise PictureError(f"this picture shows classes, but the loss {model.config.loss} has none")
    z = np.tile(truncated_normal((columns, model.latent), 0.0, generator), (model.classes, 1))
    return image_grid(model.generate(z, np.repeat(np.arange(model.classes), columns)), columns)


# ---------------------------------------------------------------- the discriminator


def judgement(model, data, generator, n=1000, cells=120):
    """The score over the plane, with data in grey and generated samples in blue; under cgan the score for class 0."""
    need(1, "points", model)
    figure, (axes,) = row_of_panels(1)
    points = data.images[:n]
    if points.shape[1] != 2:
        raise PictureError(f"this picture shows points in the plane, got points of {points.shape[1]} numbers")
    reach = 1.3 * abs(points).max()
    line = np.linspace(-reach, reach, cells, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    told = LOSSES[model.config.loss].given_labels
    labels = np.zeros(len(plane), np.int64) if told else None
    score = model.D(model.at_home(plane), labels).score.numpy().reshape(cells, cells)
    contours = axes.contourf(line, line, score, 20, cmap="coolwarm")
    figure.colorbar(contours, ax=axes, label="score for class 0" if told else "score")
    scatter(axes, points, "0.3")
    scatter(axes, model.sample(n, seed=generator), "tab:blue")
    return figure


def vanishing(model, data, generator, steps=400, every=10, batch_size=64, d_lr=3e-3):
    """Deck 000: fix the generator, go on training the discriminator, and watch the generator's gradient go.

    The run's generator as it is, a new discriminator with learning rate d_lr; the norm of dL_G / d(weights of G) for
    the minimax and for the non-saturating loss, after every tenth step. Both are of a logit, so the score must be one.
    """
    need_logit("gradients of losses on a logit", model)
    batches, task = begun_anew(model, steps=steps, d_lr=d_lr, batch_size=batch_size)
    task.G.load_state_dict(model.G.state_dict())
    task.noise = 0.0
    norms: dict[str, list[float]] = {"minimax": [], "non-saturating": []}
    for step in range(steps):
        real, labels = task.real_batch(batches, step)
        task.discriminator_step(real, labels)
        if step % every == 0:
            fake, fake_labels = task.draw(batch_size, labels)
            verdict = task.judge(fake, fake_labels)
            for loss in (Minimax(), NonSaturating()):
                task.G.zero_grad()
                loss.generator(verdict).backward(retain_graph=True)
                name = "minimax" if type(loss) is Minimax else "non-saturating"
                norms[name].append(sum(float((p.grad.data**2).sum()) for p in task.G.parameters()) ** 0.5)
    figure, (axes,) = row_of_panels(1)
    for name, values in norms.items():
        axes.semilogy(np.arange(0, steps, every), np.maximum(values, 1e-12), label=name)
    axes.set(xlabel="steps of the discriminator, the generator fixed", ylabel="norm of the generator's gradient")
    axes.legend()
    return figure


# ---------------------------------------------------------------- training, seen


def toy(model, data, generator, frames=60):
    """Deck 000's "GAN example" as a film: the data, the generated density and the discriminator's curve."""
    if model.image_shape != (1,):
        raise PictureError(f"this picture shows numbers, but the model's samples have shape {model.image_shape}")
    need_logit("a probability", model)
    batches, task = begun_anew(model)
    line = np.linspace(-4, 8, 200, dtype=np.float32)[:, None]
    film, every = [], max(model.config.steps // frames, 1)
    for step in range(model.config.steps):
        if step % every == 0:
            film.append(curve(task, data.images, line, step))
        task.step(batches, step)
    return [*film, curve(task, data.images, line, model.config.steps)]


def curve(task, points, line, step):
    """One frame of `toy`."""
    from scipy.special import expit

    figure, (axes,) = row_of_panels(1)
    bins = np.linspace(line[0, 0], line[-1, 0], 50)
    axes.hist(points[:, 0], bins, density=True, color="0.7", label="data")
    axes.hist(
        task.sample(4000, task.generator.child(step))[:, 0], bins, density=True, histtype="step", label="generated"
    )
    axes.plot(line[:, 0], expit(task.judge(task.model.at_home(line), None).score.numpy()), "k", label="D(x)")
    axes.set(ylim=(0, 1.05), title=f"step {step}")
    axes.legend(loc="upper right")
    return drawn(figure)


def evolution(model, data, generator, moments=6, n=1500):
    """The run's training once more: its samples after 0, 1/5, ... of its steps. Collapse, where there is one, shows."""
    need(1, "points", model)
    (batches, task), steps = begun_anew(model), model.config.steps
    shown = {round(i * steps / (moments - 1)): i for i in range(moments)}
    figure, panels = row_of_panels(moments)
    for step in range(steps + 1):
        if step in shown:
            axes = panels[shown[step]]
            scatter(axes, data.images[:n], "0.8")
            scatter(axes, task.sample(n, generator.child(step)), "tab:blue")
            axes.set_title(f"step {step}")
        if step < steps:
            task.step(batches, step)
    return figure


# ---------------------------------------------------------------- parts


def begun_anew(model, **changes):
    """The run's own Batches and a new GANTraining by its settings, some of them changed."""
    return prepare(replace(model.config, **changes))


def row_of_panels(n):
    """A Figure and its n axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4) if n == 1 else (2.6 * n, 2.9), layout="constrained")
    return figure, figure.subplots(1, n, squeeze=False)[0]


def scatter(axes, points, colour):
    axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0, color=colour)
    axes.set_aspect("equal")


def drawn(figure):
    """A Figure as an image (H, W, 3), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
