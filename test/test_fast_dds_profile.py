# SPDX-License-Identifier: Apache-2.0
"""What starts in the checkout finds the Fast DDS profile by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml"])
def test_the_profile_of_the_checkout_is_the_packages_under_other_names(name: str) -> None:
    if not (REPOSITORY / "Makefile").is_file():
        pytest.skip("not a checkout")
    own, shipped = ((REPOSITORY / path).read_text() for path in (name, "config/fastdds_profile.xml"))
    assert "large_images_of_checkout" in own  # names of its own: a process may read both
    assert without_comment(own.replace("_of_checkout", "")) == without_comment(shipped)


def without_comment(text: str) -> str:
    return re.sub(r"<!--.*?-->", "", text, count=1, flags=re.DOTALL)
