# SPDX-License-Identifier: Apache-2.0
"""Objects of known classes, cut out of training frames."""

from __future__ import annotations

import numpy as np
import torch

from densehybrid_ros.datasets.training_frames import FrameStore, cut_known_objects


def frames() -> FrameStore:
    labels = torch.zeros((2, 100, 200), dtype=torch.uint8)
    labels[0, 40:80, 50:70] = 11  # a person
    labels[0, 0:40, 150:199] = 13  # a car that the frame cuts off
    labels[1, 30:50, 20:40], labels[1, 50:70, 20:40] = 12, 18  # a rider on a bicycle
    labels[1, 20:24, 100:104] = 7  # a sign too small
    images = torch.zeros((2, 3, 100, 200), dtype=torch.uint8)
    images[:, 0] = labels * 10
    return FrameStore(images, labels)


def test_whole_objects_are_cut_out_with_their_classes() -> None:
    person, cyclist = cut_known_objects(frames())
    assert person.pixels.shape == (40, 20, 4)
    assert person.top == 40
    assert (person.labels == 11).all()
    assert (person.pixels[5:-5, 5:-5, 0] == 110).all()
    assert (person.pixels[5:-5, 5:-5, 3] == 255).all()
    assert person.pixels[0, 0, 3] < 255  # a soft edge
    assert set(np.unique(cyclist.labels)) == {12, 18}


def test_each_group_gives_at_most_so_many() -> None:
    store = frames()
    many = FrameStore(store.images[:1].repeat(6, 1, 1, 1), store.labels[:1].repeat(6, 1, 1))
    assert len(cut_known_objects(many, per_group=4)) == 4
