"""Child processes that do not outlive their parent."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make this process, which multiprocessing started, end when its parent has, even if killed."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
