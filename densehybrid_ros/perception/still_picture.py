# SPDX-License-Identifier: Apache-2.0
"""Whether the camera is frozen: a picture that stays the same, or of one colour, for longer than is normal."""

from __future__ import annotations

import numpy as np

FROZEN = "camera frozen"
"""Name of the problem."""

_ROWS = 64  # of a picture that are compared, or columns; a living camera has noise in all of them


class StillPicture:
    """Compares each picture with the one before."""

    def __init__(self) -> None:
        self._sample: np.ndarray = np.empty((0, 0, 3), np.uint8)
        self._same_since = 0.0
        self._plain_since: float | None = None

    def problem(self, image: np.ndarray, now: float, timeout: float) -> str | None:
        """Takes in a picture and says what is wrong with the camera, "NAME: what".

        Args:
            image: uint8 RGB [H, W, 3], any strides.
            now: Seconds.
            timeout: Seconds that a picture may stay the same, or of one colour.
        """
        step = max(1, min(image.shape[:2]) // _ROWS)
        sample = image[::step, ::step].copy()
        if not np.array_equal(sample, self._sample):
            self._sample, self._same_since = sample, now
        if np.any(sample != sample[0, 0]):
            self._plain_since = None
        elif self._plain_since is None:
            self._plain_since = now
        for what, since in (("the same picture", self._same_since), ("pictures of one colour", self._plain_since)):
            if since is not None and now - since >= timeout:
                return f"{FROZEN}: {what} for {now - since:.1f} s"
        return None
