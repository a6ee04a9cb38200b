"""Stopping at a good moment after a signal."""

import signal
import threading

# Exit status of a program that a signal stopped before its end and that the same command continues:
# EX_TEMPFAIL of sysexits.h, "the user is invited to retry".
STOPPED = 75
# Ctrl-C; kill and batch systems; a terminal that was closed; Slurm's --signal=USR1@120.
NUMBERS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]


class StopSignal:
    """Turns the first of the signals NUMBERS into `requested`; a second one acts as usual.

    SIGHUP stays ignored under nohup. Outside the main thread, where Python allows no handlers, it
    does nothing.
    """

    def __init__(self):
        self.requested = False
        self.previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self.previous = {
                number: signal.signal(number, self._request)
                for number in NUMBERS
                if not _is_ignored(number)
            }
        return self

    def _request(self, number, frame) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __exit__(self, *exception) -> None:
        self._restore()


def _is_ignored(number: signal.Signals) -> bool:
    return number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
