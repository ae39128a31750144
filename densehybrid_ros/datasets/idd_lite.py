# SPDX-License-Identifier: Apache-2.0
"""IDD-Lite (Varma et al., WACV 2019): small pictures of Indian roads with seven coarse classes."""

from __future__ import annotations

from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import FrameFiles, index_by_stem, pair_files, require_folder
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID
from densehybrid_ros.datasets.training_frames import KNOWN

_WIDTH = 640  # twice the stored one: no wider than they bear
_NAMED = {0: "road", 6: "sky"}
_NAMELESS = (1, 4, 5)  # not drivable, roadside objects, far objects
_VALUES = (*range(7), 255)


def open_idd_lite(root: Path, split: str = "train") -> LabelledSet:
    """Opens ``SPLIT/image/NAME.*`` with ``SPLIT/label/NAME.png``, enlarged to 640 columns.

    What is drivable is road, sky is sky. What else is known anywhere is ``KNOWN`` in ``train`` and void in ``val``.
    Living things and vehicles are void: animals and rickshaws, which Cityscapes has no class for, are among them.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    hint = "give the folder that holds train/ and val/, each with image/ and label/"
    image_folder, label_folder = (require_folder(root / split / name, hint) for name in ("image", "label"))
    pairs = pair_files(index_by_stem(image_folder, "*"), index_by_stem(label_folder, "*"), image_folder, label_folder)
    files = [FrameFiles(pair.image, pair.label) for pair in pairs]
    numbers = {item.name: number for number, item in enumerate(CITYSCAPES_CLASSES)}
    semantic = dict.fromkeys(_VALUES, VOID) | {value: numbers[name] for value, name in _NAMED.items()}
    if split == "train":
        semantic |= dict.fromkeys(_NAMELESS, KNOWN)
    return LabelledSet("idd_lite", files, CITYSCAPES_CLASSES, semantic, width=_WIDTH)
