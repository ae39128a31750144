# SPDX-License-Identifier: Apache-2.0
"""Which message of another stream belongs to which picture: by stamps, where they can tell, else by their order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

_LARGEST_STEP_BACK = 2 * 10**9  # nanoseconds; times of recording that go back further are not to be trusted
_STAMP_LIMIT = 2**31 * 10**9  # nanoseconds that a stamp can hold


def unique_stamps(stamps: Sequence[int], times: Sequence[int]) -> list[int]:
    """Returns the pictures' stamps; in place of zero and repeated ones the times of recording, made unique."""
    groups = _places(stamps)
    taken = {stamp for stamp, members in groups.items() if stamp and len(members) == 1}
    result = []
    for stamp, time in zip(stamps, times, strict=True):
        if stamp not in taken or len(groups.get(stamp, ())) != 1:
            stamp = time if 0 < time < _STAMP_LIMIT else 1
            while stamp in taken:
                stamp += 1
            taken.add(stamp)
        result.append(stamp)
    return result


def match_stamps(pictures: Sequence[int], others: Sequence[int]) -> tuple[dict[int, int], list[int]]:
    """Matches exact stamps: the k-th of a stamp belongs to the k-th picture of that stamp, if there are as many.

    Returns:
        ({number of the picture: number of the other}, stamps that can't tell what belongs to what).
    """
    matched: dict[int, int] = {}
    unclear = []
    theirs = _places(others)
    for stamp, mine in _places(pictures).items():
        found = theirs.get(stamp, [])
        if len(mine) == len(found):
            matched.update(zip(mine, found, strict=True))
        elif others and (found or not stamp):
            unclear.append(stamp)
    return matched, unclear


def match_nearest(pictures: Sequence[int], others: Sequence[int], tolerance: int) -> dict[int, int]:
    """Matches exact stamps, and to other pictures whose stamp is their own what is nearest within ``tolerance`` ns.

    Returns:
        Number of the picture -> number of the other, which several pictures may share.
    """
    matched, _ = match_stamps(pictures, others)
    known = sorted((stamp, number) for number, stamp in enumerate(others) if stamp)
    for stamp, mine in _places(pictures).items():
        if not stamp or len(mine) > 1 or mine[0] in matched:
            continue
        after = bisect_left(known, (stamp, -1))
        near = [(abs(found - stamp), number) for found, number in known[max(after - 1, 0) : after + 1]]
        if near and min(near)[0] <= tolerance:
            matched[mine[0]] = min(near)[1]
    return matched


def known_at(pictures: tuple[Sequence[int], Sequence[int]], others: tuple[Sequence[int], Sequence[int]]) -> list[int]:
    """Tells how many messages of another stream had come when each picture came: never falling.

    Both are (times of recording in ns, places in the recording). The times tell, as files do not always keep their
    order. Where these are set back or jump, the order of the files tells.
    """
    mine, theirs = _keys(*pictures), _keys(*others)
    if not (_are_trusted(pictures[0]) and _are_trusted(others[0])):
        mine, theirs = _keys([0] * len(mine), pictures[1]), _keys([0] * len(theirs), others[1])
    return [bisect_left(theirs, key) for key in mine]


def _keys(times: Sequence[int], places: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(accumulate(times, max), places, strict=True))


def _are_trusted(times: Sequence[int]) -> bool:
    return all(newest - time <= _LARGEST_STEP_BACK for newest, time in zip(accumulate(times, max), times, strict=True))


def _places(stamps: Sequence[int]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for number, stamp in enumerate(stamps):
        places.setdefault(stamp, []).append(number)
    return places
