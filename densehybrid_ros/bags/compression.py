# SPDX-License-Identifier: Apache-2.0
"""What recordings are packed with: zstd, lz4 and bz2, of cut data as much as there is."""

from __future__ import annotations

import bz2
import sys
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from densehybrid_ros.files import writing

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_DECOMPRESSORS: dict[str, Any] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": LZ4FrameDecompressor,
    "bz2": bz2.BZ2Decompressor,
}
_PIECE = 1 << 16  # bytes at a time, so that damage costs what lies behind it alone


def unpack(data: bytes | memoryview, kind: str) -> tuple[bytes, str]:
    """Unpacks data.

    Args:
        data: Packed data; it may be cut.
        kind: zstd, lz4 or bz2; empty or "none" for data that are not packed.

    Returns:
        (what could be unpacked, what is wrong with the rest: empty where nothing is).
    """
    if kind in ("", "none"):
        return bytes(data), ""
    if kind not in _DECOMPRESSORS:
        return b"", f"compression {kind!r} is unknown"
    decompressor, parts = _DECOMPRESSORS[kind](), []
    try:
        for start in range(0, len(data), _PIECE):
            if decompressor.eof:
                break
            parts.append(decompressor.decompress(data[start : start + _PIECE]))
    except (zstd.ZstdError, RuntimeError, OSError, EOFError) as error:
        return b"".join(parts), f"{kind} data are damaged ({error})"
    return b"".join(parts), "" if decompressor.eof else f"{kind} data end in the middle"


def unpack_file(path: Path, target: Path) -> str:
    """Unpacks a zstd file, of one that is cut as much as there is; returns what is wrong, empty where nothing is."""
    with zstd.open(path, "rb") as packed, writing(target), target.open("wb") as unpacked:
        try:
            while piece := packed.read1(_PIECE):
                unpacked.write(piece)
        except EOFError:
            return "ends in the middle"
        except zstd.ZstdError as error:
            return f"zstd data are damaged ({error})"
    return ""
