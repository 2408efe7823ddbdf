"""Batches on the GPU: while it computes one step, the next step's batch is on its way.

    CPU          fill pinned memory with batch i + 1, queue its copy   | queue the kernels of step i |
    copying      ------------ batch i + 1 to the GPU ------------
    computing    ------------------------- step i -------------------------    -------- step i + 1 ...

A *stream* is a queue of work: what is in one runs in order, what is in two runs side by side. An *event* is a mark in
one stream that another can be told to wait for. *Pinned* memory is never moved or swapped out, so the GPU fetches
from it by itself; a copy from ordinary memory would need the CPU, and hold up its queueing of kernels.

Source   CUDA C++ Programming Guide, section "Asynchronous Concurrent Execution"
"""

from ..device import cuda


class Prefetched:
    """The batches of `batches` (batches.py) as arrays on the GPU, best asked for in order."""

    def __init__(self, batches):
        self.batches, self.generator = batches, batches.generator
        self.images, self.labels = batches.images, batches.labels
        self.cupy = cuda().xp
        self.copying = self.cupy.cuda.Stream(non_blocking=True)
        self.sent = None  # the event at the end of the newest copy
        self.coming = None  # the step whose batch it brings

    def batch_at(self, step):
        """The batch of a step 0, 1, 2, ... -> images (batch_size, ...), labels (batch_size, ...), both copies."""
        if self.coming != step:
            self._send(step)
        self.cupy.cuda.get_current_stream().wait_event(self.sent)
        images, labels = [array.copy() for array in self.landing]
        self._send(step + 1)
        return images, labels

    def _send(self, step):
        """Queue the copy of a batch to `landing`, behind the work queued so far, which may still read there."""
        import cupyx

        host = self.batches.batch_at(step)
        if self.sent is None:
            self.pinned = [cupyx.empty_pinned(array.shape, array.dtype) for array in host]
            self.landing = [self.cupy.empty(array.shape, array.dtype) for array in host]
        else:
            self.sent.synchronize()  # the copy before has left the pinned memory
        self.copying.wait_event(self.cupy.cuda.get_current_stream().record())
        for pinned, array, landing in zip(self.pinned, host, self.landing):
            pinned[...] = array
            landing.set(pinned, stream=self.copying)
        self.sent, self.coming = self.copying.record(), step
