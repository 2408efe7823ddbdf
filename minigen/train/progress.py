"""What a person sees while a run goes on: a tqdm bar on a terminal, plain lines every few seconds elsewhere.

The first step may compile kernels for many seconds: no speed is worked out from it.
"""

import sys
from time import monotonic


def progress(total, done, images_per_step, stream=None):
    """A Bar on a terminal, else Lines. Both: a context manager with update(metrics), once a step, and say(text)."""
    stream = stream or sys.stderr
    return (Bar if stream.isatty() else Lines)(total, done, images_per_step, stream)


class Bar:
    """tqdm's bar; the loss and images/s stand behind it."""

    def __init__(self, total, done, images_per_step, stream):
        from tqdm import tqdm

        self.images_per_step, self.started = images_per_step, False
        self.bar = tqdm(total=total, initial=done, unit="step", file=stream, dynamic_ncols=True)

    def update(self, metrics):
        if not self.started:
            self.started = True
            self.bar.unpause()
        rate = (self.bar.format_dict["rate"] or 0) * self.images_per_step
        self.bar.set_postfix_str(f"loss={metrics['loss']:.4f}, {rate:.0f} images/s", refresh=False)
        self.bar.update()

    def say(self, text):
        self.bar.write(text, file=self.bar.fp)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()


class Lines:
    """One line every `EVERY` seconds, with the speed since the line before."""

    EVERY = 5.0  # seconds

    def __init__(self, total, done, images_per_step, stream):
        self.total, self.done, self.images_per_step, self.stream = total, done, images_per_step, stream
        self.last_time, self.last_done, self.started = monotonic(), done, False

    def update(self, metrics):
        self.done += 1
        now = monotonic()
        seconds, so_far = now - self.last_time, f"step {self.done}/{self.total}  loss {metrics['loss']:.4f}"
        if not self.started:
            if seconds >= self.EVERY:
                self.say(f"{so_far}  after {seconds:.0f} s")
            self.last_time, self.last_done, self.started = now, self.done, True
        elif seconds >= self.EVERY or self.done == self.total:
            rate = (self.done - self.last_done) / max(seconds, 1e-9)
            left = round((self.total - self.done) / rate)
            self.say(f"{so_far}  {rate * self.images_per_step:.0f} images/s  {left // 60}:{left % 60:02d} left")
            self.last_time, self.last_done = now, self.done

    def say(self, text):
        print(text, file=self.stream, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass
