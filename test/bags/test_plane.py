# SPDX-License-Identifier: Apache-2.0
"""One-channel images of any layout into arrays."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.bags import messages
from densehybrid_ros.errors import InputError


def image(encoding: str, data: bytes, step: int, big_endian: int = 0) -> object:
    header = messages.header_message(0, "camera")
    return messages.make(
        messages.IMAGE,
        header=header,
        height=2,
        width=3,
        encoding=encoding,
        is_bigendian=big_endian,
        step=step,
        data=np.frombuffer(data, np.uint8),
    )


@pytest.mark.parametrize(("encoding", "kind"), [("mono8", "u1"), ("16UC1", "u2"), ("32FC1", "f4")])
@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("padding", [0, 5])
def test_padding_and_byte_order(encoding: str, kind: str, big_endian: int, padding: int) -> None:
    values = np.array([[1, 2, 3], [40, 50, 250]])
    rows = values.astype((">" if big_endian else "<") + kind)
    data = b"".join(row.tobytes() + b"\xee" * padding for row in rows)

    plane = messages.plane(image(encoding, data, len(data) // 2, big_endian), "labels")

    np.testing.assert_array_equal(plane, values)
    assert plane.dtype == np.dtype(kind)
    assert plane.dtype.isnative


def test_size_that_disagrees_with_the_data_and_foreign_encodings_are_refused() -> None:
    with pytest.raises(InputError, match="labels: size disagrees with the data: 3x2 with step 3"):
        messages.plane(image("mono8", b"12345", 3), "labels")
    with pytest.raises(InputError, match="size disagrees"):
        messages.plane(image("mono16", b"123456", 3), "labels")
    with pytest.raises(InputError, match="labels: encoding 'rgb8'"):
        messages.plane(image("rgb8", bytes(18), 9), "labels")
