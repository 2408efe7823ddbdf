"""The training loop, one for every model: steps, metrics, pictures, checkpoints, and a clean end whatever happens.

    for each step:  task.step -> one line of metrics -> now and then a picture and a checkpoint

How it can end
    the last step       final picture and checkpoint
    SIGINT, SIGTERM     the step under way is finished, a checkpoint written, `Stopped` raised; a second kills at once
    NaN or infinity     `Diverged` raised, which says where it came from; no checkpoint is written
    the task is lost    `Diverged` raised with the task's remark, which the metrics have too; no checkpoint is written
    anything else       (a full disk, a kill) the last checkpoint stands
"""

import signal
import threading
from contextlib import contextmanager
from time import monotonic

from .. import __version__
from ..random import Generator
from .diagnose import first_nonfinite_gradient, first_nonfinite_layer
from .progress import progress
from .task import NonFinite, check_finite


class Stopped(Exception):
    """Training was asked to stop and did, after writing a checkpoint. `signal` is the signal's number."""

    def __init__(self, signum, step, path):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}; checkpoint: {path}")
        self.signal = signum


class Diverged(Exception):
    """Training cannot go on: from which step, and why.

    A loss or gradient became NaN or infinite (on which batch, and first in which layer), or the task itself says that
    it is lost (its remark).
    """


def fit(task, batches, run, first=0, save_images=None):
    """Train from step `first` to task.config.steps, writing into `run`, a RunFolder that the caller has locked.

    save_images(path, samples of task.sample) writes a sample picture; None: no pictures are made.
    Raises Stopped or Diverged, see above; OSError where the disk refuses.
    """
    config, started = task.config, monotonic()
    with stop_signals() as received, progress(config.steps, first, config.batch_size) as shown:
        for index in range(first, config.steps):
            metrics = finite_step(task, batches, index)
            step, last = index + 1, index + 1 == config.steps
            remark = {"remark": task.remark} if task.remark else {}
            run.append_metrics({"step": step, **metrics, **remark, "seconds": round(monotonic() - started, 3)})
            shown.update(metrics)
            if task.remark:
                shown.say(f"step {step}: {task.remark}")
            if task.lost:
                raise Diverged(f"step {step}: {task.remark}")
            if last or received or step % config.checkpoint_every == 0:
                path = save(task, run, step)
            if received:
                raise Stopped(received[0], step, path)
            if save_images and (last or step % config.sample_every == 0):
                save_images(run.samples_file(step), task.sample(task.pictured, Generator(config.seed).child("picture")))


def save(task, run, step):
    """Write the checkpoint of `step` -> its path."""
    arrays, header = task.state()
    return run.save_checkpoint(step, arrays, {"minigen": __version__, **header})


def finite_step(task, batches, index):
    """task.step, and on a NaN or infinity the search for its origin. Raises Diverged."""
    before = task.generator.state()
    try:
        metrics = task.step(batches, index)
    except NonFinite as error:
        layer = first_nonfinite_layer(task, batches, index, before)
        origin = f"first in the output of {layer}" if layer else "every layer's output is finite: it arose in the loss"
        raise Diverged(f"{where(batches, index, before)}: {error}; {origin}") from error
    try:
        check_finite(**metrics)
    except NonFinite as error:
        origin = f"the gradient of {first_nonfinite_gradient(task)} is not finite, though the loss is"
        raise Diverged(f"{where(batches, index, before)}: {error}; {origin}") from error
    return metrics


def where(batches, index, generator_state):
    """The step, and the numbers that bring back its batch and its noise."""
    seed, counter = generator_state["seed"], generator_state["counter"]
    batch = f"batch_at({index}) of Batches(seed={batches.generator.seed})"
    return f"step {index + 1} ({batch}, noise from Generator({seed}, {counter}))"


@contextmanager
def stop_signals():
    """A list that holds the first SIGINT or SIGTERM once it came; the second one then kills, as without us.

    Only the main thread can receive signals: in another the list stays empty.
    """
    received: list[int] = []

    def note(signum, frame):
        received.append(signum)
        for number in before:
            signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
