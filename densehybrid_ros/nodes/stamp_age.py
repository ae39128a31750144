"""How old frames are: a camera that goes on with old pictures must not read as all clear."""

from __future__ import annotations

_ANOTHER_CLOCK = 3600.0  # seconds of age from which a stamp can't be of this clock


class StampAge:
    """Compares the stamps of one camera with the node's clock."""

    def __init__(self) -> None:
        self._last = 0
        self._offset = 0.0

    def problem(self, stamp: int, now: int, limit: float) -> str:
        """Says why a frame is too old or too new, or nothing.

        A stamp an hour or more away from the clock is of another one, such as that of a recording. Then its distance
        to the clock may not change by more than the limit. It is taken again when stamps jump back, as in a loop. A
        stamp of zero says that there is none.

        Args:
            stamp: Of the frame, nanoseconds.
            now: Of the node's clock, nanoseconds.
            limit: Parameter ``max_age``, seconds; 0: any age will do.
        """
        age = (now - stamp) * 1e-9
        if abs(age) < _ANOTHER_CLOCK:
            self._offset = 0.0
        elif stamp < self._last or self._last == 0:
            self._offset = age
        self._last = stamp
        drift = age - self._offset
        if stamp == 0 or limit == 0 or abs(drift) <= limit:
            return ""
        side = "behind" if drift > 0 else "ahead of"
        if not self._offset:
            return f"the frame's stamp is {abs(drift):.2f} s {side} the clock (max_age {limit:g} s)"
        text = f"the frames' stamps run {abs(drift):.2f} s {side} the clock since the first one (max_age {limit:g} s)"
        return f"{text}, or that is another clock: set use_sim_time and play with --clock, or max_age 0"
