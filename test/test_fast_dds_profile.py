"""What starts in the checkout finds the Fast DDS profile by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml"])
def test_the_name_that_fast_dds_looks_for_is_the_profile(name: str) -> None:
    if not (REPOSITORY / "Makefile").is_file():
        pytest.skip("not a checkout")
    assert (REPOSITORY / name).read_bytes() == (REPOSITORY / "config" / "fastdds_profile.xml").read_bytes()
