"""A clock that goes on only when it is read."""


class SteadyClock:
    """In place of the module ``time``: each reading is a quarter of a second later."""

    now = 0.0

    def perf_counter(self) -> float:
        """The seconds so far."""
        self.now += 0.25
        return self.now
