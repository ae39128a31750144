# SPDX-License-Identifier: Apache-2.0
"""Values of options: what is refused before any work is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from densehybrid_ros.cli.options import (
    finite,
    join_negative_values,
    network_size,
    not_negative,
    several,
    size,
    threshold,
)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (finite, "nan", "'nan' is not a finite number"),
        (finite, "high", "'high' is not a finite number"),
        (not_negative, "-1", "'-1' is not a number of at least 0"),
        (threshold, "nan", "'nan' is no threshold; give a finite number of nats, or a name in the model card"),
        (several(threshold), "-60,", "'' is no threshold; give a finite number of nats, or a name in the model card"),
        (size, "100000x8", "'100000x8': sides are at most 16384 pixels"),
        (network_size, "8x0", "'8x0' is no size; write WIDTHxHEIGHT, such as 1024x512"),
        (network_size, "512x1024", "512x1024: sizes are WIDTHxHEIGHT; did you mean 1024x512?"),
    ],
)
def test_what_is_no_number_is_named(kind: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as error:
        kind(text)
    assert str(error.value) == message


def test_thresholds_are_numbers_and_names_and_a_negative_one_may_be_a_word_of_its_own() -> None:
    read = [-60.0, 100.0, "default", "inlier_q95", "false_alarms_1e-05"]
    assert several(threshold)("-60, 1e2,default,inlier_q95,false_alarms_1e-05") == read
    words = ["replay", "--threshold", "-60,-80", "--bins", "-.5", "-p", "-1", "--threshold", "--json", "-"]
    joined = ["replay", "--threshold=-60,-80", "--bins=-.5", "-p", "-1", "--threshold", "--json", "-"]
    assert join_negative_values(words) == joined
