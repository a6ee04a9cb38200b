"""Stopping at a good moment after a signal."""

import signal


class StopSignal:
    """Turns the first SIGINT or SIGTERM into `requested`; a second one acts as usual."""

    def __init__(self):
        self.requested = False
        self.previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignal":
        self.previous = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
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
