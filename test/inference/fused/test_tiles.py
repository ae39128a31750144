# SPDX-License-Identifier: Apache-2.0
"""The choice of block sizes: the table first, then what runs, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from densehybrid_ros.inference.fused.tiles import Tile, Tiles

SMALL, LARGE, HUGE = Tile(64, 32, 64, 4, 3), Tile(128, 128, 64, 8, 3), Tile(256, 256, 128, 8, 5)


def run_on_a_device_without_room_for(tile: Tile, ran: list[Tile]):
    def run(each: Tile) -> None:
        if each == tile:
            raise MemoryError("out of shared memory")
        ran.append(each)

    return run


def test_the_first_tile_that_runs_is_taken_and_remembered(tmp_path: Path) -> None:
    tiles, ran = Tiles(), []
    for _ in range(2):
        tiles.launch("product 8", (HUGE, LARGE, SMALL), run_on_a_device_without_room_for(HUGE, ran))
    assert ran == [LARGE, LARGE]
    tiles.write(tmp_path / "tiles")
    again: list[Tile] = []
    Tiles.read(tmp_path / "tiles").launch("product 8", (SMALL,), again.append)
    assert again == [LARGE]


def test_a_kernel_that_no_tile_runs_says_so() -> None:
    with pytest.raises(RuntimeError, match="product 8: no tile of 1 runs"):
        Tiles().launch("product 8", (HUGE,), run_on_a_device_without_room_for(HUGE, []))


@pytest.mark.parametrize("content", ["", "[1]", '{"product": 3}', '{"product": [1, 2]}'])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tiles").write_text(content)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Tiles.read(tmp_path / "tiles")


@pytest.mark.gpu
def test_the_quickest_is_taken_where_they_are_measured() -> None:
    import torch

    matrices = {tile: torch.rand(tile.pixels, tile.pixels, device="cuda") for tile in (SMALL, Tile(4096, 0, 0, 0, 0))}
    ran: list[Tile] = []

    def run(tile: Tile) -> None:
        ran.append(tile)
        torch.mm(matrices[tile], matrices[tile])

    tiles = Tiles()
    tiles.launch("product", tuple(reversed(matrices)), run)
    assert ran == [Tile(4096, 0, 0, 0, 0)]
    tiles.tune()
    tiles.launch("product", tuple(reversed(matrices)), run)
    assert ran[-1] == SMALL
