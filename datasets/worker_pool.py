"""Worker processes that convert images: in order, with bounded memory, gone when we are gone."""

import itertools
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from datasets.conversion import Outcome, Task, convert_all
from datasets.preparation import Preparation
from dnnlib.child_processes import end_with_parent
from dnnlib.errors import UserError

BYTES_A_PORTION = 1 << 20  # of prepared pixels that a worker hands over at once
PORTIONS_AHEAD = 3  # a worker
MOST_WORKERS = 256
_WORKER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's threads would only wait, on a core each
    # The C library gives the memory of each image back to the system, to ask for it again.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
}


def convert_in_order(
    tasks: Iterable[Task], preparation: Preparation, *, workers: int
) -> Iterator[Outcome]:
    """Yield the outcome of every task, in the order of the tasks."""
    portions = _portions(tasks, preparation)
    first = list(itertools.islice(portions, 2))
    portions = itertools.chain(first, portions)
    if workers == 1 or len(first) < 2:  # not worth starting processes
        for portion in portions:
            yield from convert_all(portion, preparation)
        return
    for name, value in _WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Fresh processes, not forks: the caller may have started threads (TensorFlow's, for example).
    try:
        executor = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=end_with_parent
        )
    except (OSError, NotImplementedError, ImportError) as error:  # no /dev/shm, for example
        print(
            f"worker processes cannot be started here ({error}); working in one process",
            file=sys.stderr,
        )
        for portion in portions:
            yield from convert_all(portion, preparation)
        return
    try:
        waiting = deque()
        for portion in portions:
            with _ctrl_c_held_back():  # the workers that this starts inherit it
                waiting.append(executor.submit(convert_all, portion, preparation))
            if len(waiting) >= workers * PORTIONS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was ended from outside (out of memory?); run the same command again, "
            "with fewer --workers if it is memory"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _portions(tasks: Iterable[Task], preparation: Preparation) -> Iterator[list[Task]]:
    image_bytes = preparation.channel_count * preparation.resolution**2
    size = max(1, min(32, BYTES_A_PORTION // image_bytes))
    tasks = iter(tasks)
    while portion := list(itertools.islice(tasks, size)):
        yield portion


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Deliver a Ctrl-C after the block only, and never to a process started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
