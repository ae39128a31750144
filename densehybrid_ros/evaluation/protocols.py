# SPDX-License-Identifier: Apache-2.0
"""How each benchmark wants its data set to be measured, and the published figures to stand beside ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

AP, FPR95, AUROC, MEAN_IOU = "AP", "FPR95", "AUROC", "mIoU"
OPEN_SET = (AP, FPR95, AUROC, MEAN_IOU, "mF1", "open-mIoU", "gap")
_PIXEL = (AP, FPR95)

Row = tuple[str, dict[str, float], str]
"""A row of a table: who, figures in percent, where they come from."""


@dataclass(frozen=True)
class ComponentSizes:
    """Smallest components in pixels that count, predicted and in the ground truth (SegmentMeIfYouCan)."""

    predicted: int
    truth: int


@dataclass(frozen=True)
class Protocol:
    """How a data set is measured."""

    # average the figures of the images instead of pooling all pixels; FPR95 is then taken at the recall nearest to
    # 95 % (StreetHazards)
    mean_over_images: bool = False
    components: ComponentSizes | None = None  # where the benchmark has component metrics
    folds: tuple[str, str] | None = None  # groups of which one calibrates the other's threshold, and vice versa
    distances: bool = False  # whether figures by distance are part of it (LostAndFound)
    note: str = ""  # what a reader must know to compare


_ANOMALY_TRACK = ComponentSizes(predicted=500, truth=100)
OBSTACLE_TRACK = ComponentSizes(predicted=50, truth=10)
"""Sizes of SegmentMeIfYouCan's obstacle track, also where a data set's protocol names none."""
_FISHYSCAPES = "rows of table 1 are on Fishyscapes' hidden test frames, all others on its validation set"
_TEST = "published rows are on the track's test frames, whose labels are not public; ours on its validation frames"

PROTOCOLS: dict[str, Protocol] = {
    "folder": Protocol(),
    "road_anomaly21_val": Protocol(components=_ANOMALY_TRACK),
    "road_obstacle21_val": Protocol(components=OBSTACLE_TRACK),
    "lost_and_found_sample": Protocol(components=OBSTACLE_TRACK),
    "smiyc_anomaly": Protocol(components=_ANOMALY_TRACK, note=_TEST),
    "smiyc_obstacle": Protocol(components=OBSTACLE_TRACK, note=_TEST),
    "smiyc_lost_and_found_no_known": Protocol(components=OBSTACLE_TRACK),
    "fishyscapes_lost_and_found": Protocol(note=_FISHYSCAPES),
    "fishyscapes_static": Protocol(note=_FISHYSCAPES),
    "road_anomaly": Protocol(),
    "street_hazards": Protocol(mean_over_images=True, folds=("t5", "t6")),
    "cityscapes": Protocol(note="published rows are DeepLabV3+ with a wide ResNet-38"),
    "cityscapes_640": Protocol(),
    "cityscapes_void": Protocol(),
    "lost_and_found": Protocol(components=OBSTACLE_TRACK, distances=True),
}
"""Name of a data set -> its protocol."""


def protocol_of(dataset: str) -> Protocol:
    """Returns the protocol of a data set, a plain one where it has none of its own."""
    return PROTOCOLS.get(dataset, Protocol())


_PAPER: dict[int, tuple[dict[str, tuple[str, ...]], str]] = {
    1: (
        {
            "smiyc_anomaly": _PIXEL,
            "smiyc_obstacle": _PIXEL,
            "smiyc_lost_and_found_no_known": _PIXEL,
            "fishyscapes_lost_and_found": _PIXEL,
            "fishyscapes_static": _PIXEL,
            "cityscapes": (MEAN_IOU,),
        },
        """
        trained without real negatives
        Image Resyn.     52.3 25.9 37.7  4.7 57.1  8.8  5.7 48.1 29.6 27.1 81.4
        Road Inpaint.       -    - 54.1 47.1 82.9 35.8    -    -    -    -    -
        Max softmax        28 72.1 15.7 16.6 30.1 33.2  1.8 44.9 12.9 39.8 80.3
        MC Dropout       28.9 69.5  4.9 50.3 36.8 35.6    -    -    -    -    -
        ODIN             33.1 71.7 22.1 15.3 52.9   30    -    -    -    -    -
        SML                 -    -    -    -    -    - 31.7 21.9 52.1 20.5    -
        Embed. Dens.     37.5 70.8  0.8 46.4 61.7 10.4  4.3 47.2 62.1 17.4 80.3
        JSRNet           33.6 43.9 28.1 28.9 74.2  6.6    -    -    -    -    -
        SynDenseHybrid   51.5 33.2   64  0.6 78.8  1.1 51.8 11.5 54.7 15.5 79.9
        trained with real negatives
        SynBoost         56.4 61.9 71.3  3.2 81.7  4.6 43.2 15.8 72.6 18.8 81.4
        Prior Entropy       -    -    -    -    -    - 34.3 47.4 31.3 84.6 70.5
        OOD head            -    -    -    -    -    - 31.3   19 96.8  0.3 79.6
        Void Classifier  36.6 63.5 10.4 41.5  4.8   47 10.3 22.1   45 19.4 70.4
        Dirichlet prior     -    -    -    -    -    - 34.3 47.4 84.6   30 70.5
        DenseHybrid        78  9.8 87.1  0.2 78.7  2.1 43.9  6.2 72.3  5.5   81
        """,
    ),
    2: (
        {"road_anomaly": _PIXEL, "fishyscapes_lost_and_found": _PIXEL, "fishyscapes_static": _PIXEL},
        """
        trained without real negatives
        Max softmax     15.7 71.4  4.6 40.6 19.1   24
        Max logit         19 70.5 14.6 42.2 38.6 18.3
        SML             25.8 49.7 36.6 14.5 48.7 16.8
        SynthCP         24.9 64.7  6.5   46 23.2   34
        Density            -    -  4.1 22.3    -    -
        SynDenseHybrid  35.1 37.2 59.5 10.4   49 10.3
        trained with real negatives
        SynBoost        38.2 64.8 60.6   31 66.4 25.6
        OOD head           -    - 45.7   24    -    -
        Energy          19.5 70.2 16.1 41.8 41.7 17.8
        DenseHybrid     63.9 43.2 60.5    6 63.1  4.2
        """,
    ),
    3: (
        {"cityscapes_void": (AUROC,)},
        """
        trained without real negatives
        Max softmax     72.1
        Entropy         69.7
        OpenMax         75.1
        C2AE            72.7
        ODIN            75.5
        MC dropout      76.7
        GDM             74.3
        GMM             76.5
        K+1 classifier  75.5
        OpenGAN-O       70.9
        OpenGAN         88.5
        SynDenseHybrid  91.7
        """,
    ),
    4: (
        {"street_hazards": OPEN_SET},
        """
        trained without real negatives
        SynthCP          9.3 28.4 88.5    -    -    -    -
        Dropout          7.5 79.4 69.9    -    -    -    -
        TRADI            7.2 25.3 89.2    -    -    -    -
        SO+H            12.7 25.2 91.7 59.7    -    -    -
        DML             14.7 17.3 93.7    -    -    -    -
        Max softmax      7.5 27.9 90.1   65 46.4 35.1 29.9
        ODIN               7 28.7   90   65 41.6 28.8 36.2
        ReAct           10.9 21.2 92.3 62.7 46.4   34 28.7
        SynDenseHybrid  19.7 17.4 93.9 61.3 50.6 37.3   24
        trained with real negatives
        Energy          12.9 18.2   93 63.3 50.4 42.7 29.9
        OE              14.6 17.7   94 61.7 56.1 43.8 17.9
        OH              19.7 56.2 88.8 66.6    - 33.9 32.7
        OH*MSP          18.8 30.9 89.7 66.6    - 43.6   23
        DenseHybrid     30.2   13 95.6   63 59.7 45.8 17.2
        """,
    ),
    5: (
        {"fishyscapes_lost_and_found": _PIXEL, "fishyscapes_static": _PIXEL},
        """
        trained with real negatives
        dataset posterior alone                             46.5 38.3 53.5 30.9
        unnormalised likelihood alone                       58.2  7.3   58  5.3
        hybrid                                              60.5    6 63.1  4.2
        trained with synthetic negatives
        dataset posterior alone, synthetic negatives        30.9   61 29.4 71.5
        unnormalised likelihood alone, synthetic negatives  52.8 13.1 35.8 11.1
        hybrid, synthetic negatives                         59.5 10.4   49 10.3
        density of a flow on pre-logits, real negatives
        flow on pre-logits                                   5.7 58.9 61.7  7.6
        posterior / flow on pre-logits                       6.5 46.1 65.1  6.5
        """,
    ),
}
"""Number of a table -> figures of each data set, which are its columns, and its groups of rows: percent, - for none."""

_BY_DISTANCE = """
    Max softmax   28.7 16.4  28.8 29.7    26 28.8  25.1 44.2    29 41.3  26.2 47.8  29.6 44.7  31.7 43.2  33.7 45.3
    Max logit     76.1  5.4  73.9 16.2  78.2  5.9  69.6 12.8  72.6  9.5  70.2   10    71  9.8    74  9.8  73.9   11
    SynBoost      93.7  0.2  78.7 17.7  76.9   25    70 23.3  65.6 18.8  58.5 27.4  59.8 25.4    60 25.8  53.3 29.9
    DenseHybrid   90.7  0.3  89.8  1.1  92.9  0.6  89.1  1.4  89.5  1.4  87.7  2.5    85  3.7  85.6  4.7  82.1  6.3
"""


def _rows(text: str) -> list[tuple[str, list[float]]]:
    """Reads lines of a name, two blanks or more, and numbers; a title has none."""
    rows = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, numbers = line.partition("  ")
        rows.append((name, [math.nan if word == "-" else float(word) for word in numbers.split()]))
    return rows


def published_groups(table: int) -> list[tuple[str, dict[str, list[float]]]]:
    """Returns the groups of a table of the paper in its order: a title; a figure a column, or nan, for each method."""
    groups: list[tuple[str, dict[str, list[float]]]] = []
    for name, figures in _rows(_PAPER[table][1]) if table in _PAPER else ():
        if figures:
            groups[-1][1][name] = figures
        else:
            groups.append((name, {}))
    return groups


def published_rows(dataset: str) -> list[Row]:
    """Returns the rows of the paper's tables that have figures of a data set."""
    found: list[Row] = []
    for table, (parts, _) in _PAPER.items():
        columns = [(name, figure) for name, figures in parts.items() for figure in figures]
        source = f"paper, table {table}" + (" (test)" if table == 1 and dataset.startswith("fishyscapes") else "")
        for _, methods in published_groups(table):
            for method, values in methods.items():
                cells = zip(columns, values, strict=True)
                figures = {
                    figure: value for (name, figure), value in cells if name == dataset and not math.isnan(value)
                }
                if figures:
                    found.append((method, figures, source))
    return found


PUBLISHED_BY_DISTANCE: dict[str, list[tuple[float, float]]] = {
    method: list(zip(figures[::2], figures[1::2], strict=True)) for method, figures in _rows(_BY_DISTANCE)
}
"""Paper, table 6: method -> (AP, FPR95) in percent of the bins [5, 10) ... [45, 50) metres on LostAndFound test."""
