# SPDX-License-Identifier: Apache-2.0
"""How each benchmark wants its data set to be measured, and the published figures to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass, field

AP, FPR95, AUROC = "AP", "FPR95", "AUROC"
MEAN_IOU, MEAN_F1, OPEN_MEAN_IOU, GAP = "mIoU", "mF1", "open-mIoU", "gap"


@dataclass(frozen=True)
class Published:
    """A published row.

    Attributes:
        method: Name of the method.
        figures: Name of the figure -> value in percent.
        source: Where it was published.
    """

    method: str
    figures: dict[str, float]
    source: str


@dataclass(frozen=True)
class ComponentSizes:
    """Smallest components in pixels that count, predicted and in the ground truth (SegmentMeIfYouCan)."""

    predicted: int
    truth: int


@dataclass(frozen=True)
class Protocol:
    """How a data set is measured.

    Attributes:
        mean_over_images: Average the figures of the images instead of pooling all pixels; FPR95 is then taken at
            the recall nearest to 95 % (StreetHazards).
        binned: Measure AP and FPR95 also as SegmentMeIfYouCan bins its scores.
        components: Component sizes, where the benchmark has component metrics.
        folds: The two groups of which one calibrates the threshold that the other is measured with, and vice versa.
        distances: Whether figures by distance are part of it (LostAndFound).
        published: Figures to stand beside ours.
        note: What a reader must know to compare.
    """

    mean_over_images: bool = False
    binned: bool = False
    components: ComponentSizes | None = None
    folds: tuple[str, str] | None = None
    distances: bool = False
    published: tuple[Published, ...] = field(default=())
    note: str = ""


def _rows(source: str, columns: tuple[str, ...], rows: dict[str, tuple[float | None, ...]]) -> tuple[Published, ...]:
    return tuple(
        Published(
            method,
            {name: value for name, value in zip(columns, values, strict=True) if value is not None},
            source,
        )
        for method, values in rows.items()
    )


_PIXEL = (AP, FPR95)
_OPEN_SET = (AP, FPR95, AUROC, MEAN_IOU, MEAN_F1, OPEN_MEAN_IOU, GAP)
_ANOMALY_TRACK = ComponentSizes(predicted=500, truth=100)
_OBSTACLE_TRACK = ComponentSizes(predicted=50, truth=10)
_FISHYSCAPES_NOTE = "rows of table 1 are on Fishyscapes' hidden test frames, all others on its validation set"
_TEST_NOTE = "published rows are on the track's test frames, whose labels are not public; ours on its validation frames"

PROTOCOLS: dict[str, Protocol] = {
    "folder": Protocol(),
    "road_anomaly21_val": Protocol(binned=True, components=_ANOMALY_TRACK),
    "road_obstacle21_val": Protocol(binned=True, components=_OBSTACLE_TRACK),
    "lost_and_found_sample": Protocol(components=_OBSTACLE_TRACK),
    "smiyc_anomaly": Protocol(
        binned=True,
        components=_ANOMALY_TRACK,
        published=_rows(
            "paper, table 1",
            _PIXEL,
            {
                "DenseHybrid": (78.0, 9.8),
                "SynDenseHybrid": (51.5, 33.2),
                "SynBoost": (56.4, 61.9),
                "Image Resyn.": (52.3, 25.9),
                "Void Classifier": (36.6, 63.5),
                "JSRNet": (33.6, 43.9),
                "Embed. Dens.": (37.5, 70.8),
                "ODIN": (33.1, 71.7),
                "MC Dropout": (28.9, 69.5),
                "Max softmax": (28.0, 72.1),
            },
        ),
        note=_TEST_NOTE,
    ),
    "smiyc_obstacle": Protocol(
        binned=True,
        components=_OBSTACLE_TRACK,
        published=_rows(
            "paper, table 1",
            _PIXEL,
            {
                "DenseHybrid": (87.1, 0.2),
                "SynDenseHybrid": (64.0, 0.6),
                "SynBoost": (71.3, 3.2),
                "Road Inpaint.": (54.1, 47.1),
                "Image Resyn.": (37.7, 4.7),
                "JSRNet": (28.1, 28.9),
                "ODIN": (22.1, 15.3),
                "Max softmax": (15.7, 16.6),
                "Void Classifier": (10.4, 41.5),
                "MC Dropout": (4.9, 50.3),
                "Embed. Dens.": (0.8, 46.4),
            },
        ),
        note=_TEST_NOTE,
    ),
    "smiyc_lost_and_found_no_known": Protocol(
        binned=True,
        components=_OBSTACLE_TRACK,
        published=_rows(
            "paper, table 1",
            _PIXEL,
            {
                "DenseHybrid": (78.7, 2.1),
                "SynDenseHybrid": (78.8, 1.1),
                "Road Inpaint.": (82.9, 35.8),
                "SynBoost": (81.7, 4.6),
                "JSRNet": (74.2, 6.6),
                "Embed. Dens.": (61.7, 10.4),
                "Image Resyn.": (57.1, 8.8),
                "ODIN": (52.9, 30.0),
                "MC Dropout": (36.8, 35.6),
                "Max softmax": (30.1, 33.2),
                "Void Classifier": (4.8, 47.0),
            },
        ),
    ),
    "fishyscapes_lost_and_found": Protocol(
        published=_rows(
            "paper, table 1 (test)",
            _PIXEL,
            {
                "DenseHybrid": (43.9, 6.2),
                "SynDenseHybrid": (51.8, 11.5),
                "SynBoost": (43.2, 15.8),
                "Prior Entropy": (34.3, 47.4),
                "Dirichlet prior": (34.3, 47.4),
                "SML": (31.7, 21.9),
                "OOD head": (31.3, 19.0),
                "Void Classifier": (10.3, 22.1),
                "Image Resyn.": (5.7, 48.1),
                "Embed. Dens.": (4.3, 47.2),
                "Max softmax": (1.8, 44.9),
            },
        )
        + _rows(
            "paper, table 2",
            _PIXEL,
            {
                "DenseHybrid": (60.5, 6.0),
                "SynDenseHybrid": (59.5, 10.4),
                "SynBoost": (60.6, 31.0),
                "OOD head": (45.7, 24.0),
                "SML": (36.6, 14.5),
                "Energy": (16.1, 41.8),
                "Max logit": (14.6, 42.2),
                "SynthCP": (6.5, 46.0),
                "Max softmax": (4.6, 40.6),
                "Density": (4.1, 22.3),
            },
        )
        + _rows(
            "paper, table 5",
            _PIXEL,
            {
                "dataset posterior alone": (46.5, 38.3),
                "unnormalised likelihood alone": (58.2, 7.3),
                "hybrid": (60.5, 6.0),
                "dataset posterior alone, synthetic negatives": (30.9, 61.0),
                "unnormalised likelihood alone, synthetic negatives": (52.8, 13.1),
                "hybrid, synthetic negatives": (59.5, 10.4),
                "flow on pre-logits": (5.7, 58.9),
                "posterior / flow on pre-logits": (6.5, 46.1),
            },
        ),
        note=_FISHYSCAPES_NOTE,
    ),
    "fishyscapes_static": Protocol(
        published=_rows(
            "paper, table 1 (test)",
            _PIXEL,
            {
                "DenseHybrid": (72.3, 5.5),
                "SynDenseHybrid": (54.7, 15.5),
                "OOD head": (96.8, 0.3),
                "Dirichlet prior": (84.6, 30.0),
                "SynBoost": (72.6, 18.8),
                "Embed. Dens.": (62.1, 17.4),
                "SML": (52.1, 20.5),
                "Void Classifier": (45.0, 19.4),
                "Prior Entropy": (31.3, 84.6),
                "Image Resyn.": (29.6, 27.1),
                "Max softmax": (12.9, 39.8),
            },
        )
        + _rows(
            "paper, table 2",
            _PIXEL,
            {
                "DenseHybrid": (63.1, 4.2),
                "SynDenseHybrid": (49.0, 10.3),
                "SynBoost": (66.4, 25.6),
                "SML": (48.7, 16.8),
                "Energy": (41.7, 17.8),
                "Max logit": (38.6, 18.3),
                "SynthCP": (23.2, 34.0),
                "Max softmax": (19.1, 24.0),
            },
        )
        + _rows(
            "paper, table 5",
            _PIXEL,
            {
                "dataset posterior alone": (53.5, 30.9),
                "unnormalised likelihood alone": (58.0, 5.3),
                "hybrid": (63.1, 4.2),
                "dataset posterior alone, synthetic negatives": (29.4, 71.5),
                "unnormalised likelihood alone, synthetic negatives": (35.8, 11.1),
                "hybrid, synthetic negatives": (49.0, 10.3),
                "flow on pre-logits": (61.7, 7.6),
                "posterior / flow on pre-logits": (65.1, 6.5),
            },
        ),
        note=_FISHYSCAPES_NOTE,
    ),
    "road_anomaly": Protocol(
        published=_rows(
            "paper, table 2",
            _PIXEL,
            {
                "DenseHybrid": (63.9, 43.2),
                "SynDenseHybrid": (35.1, 37.2),
                "SynBoost": (38.2, 64.8),
                "SML": (25.8, 49.7),
                "SynthCP": (24.9, 64.7),
                "Energy": (19.5, 70.2),
                "Max logit": (19.0, 70.5),
                "Max softmax": (15.7, 71.4),
            },
        )
    ),
    "street_hazards": Protocol(
        mean_over_images=True,
        folds=("t5", "t6"),
        published=_rows(
            "paper, table 4",
            _OPEN_SET,
            {
                "DenseHybrid": (30.2, 13.0, 95.6, 63.0, 59.7, 45.8, 17.2),
                "SynDenseHybrid": (19.7, 17.4, 93.9, 61.3, 50.6, 37.3, 24.0),
                "OH": (19.7, 56.2, 88.8, 66.6, None, 33.9, 32.7),
                "OH*MSP": (18.8, 30.9, 89.7, 66.6, None, 43.6, 23.0),
                "OE": (14.6, 17.7, 94.0, 61.7, 56.1, 43.8, 17.9),
                "DML": (14.7, 17.3, 93.7, None, None, None, None),
                "Energy": (12.9, 18.2, 93.0, 63.3, 50.4, 42.7, 29.9),
                "SO+H": (12.7, 25.2, 91.7, 59.7, None, None, None),
                "ReAct": (10.9, 21.2, 92.3, 62.7, 46.4, 34.0, 28.7),
                "SynthCP": (9.3, 28.4, 88.5, None, None, None, None),
                "Max softmax": (7.5, 27.9, 90.1, 65.0, 46.4, 35.1, 29.9),
                "Dropout": (7.5, 79.4, 69.9, None, None, None, None),
                "TRADI": (7.2, 25.3, 89.2, None, None, None, None),
                "ODIN": (7.0, 28.7, 90.0, 65.0, 41.6, 28.8, 36.2),
            },
        ),
    ),
    "cityscapes": Protocol(
        published=_rows(
            "paper, table 1",
            (MEAN_IOU,),
            {
                "DenseHybrid": (81.0,),
                "SynDenseHybrid": (79.9,),
                "Image Resyn.": (81.4,),
                "SynBoost": (81.4,),
                "Max softmax": (80.3,),
                "Embed. Dens.": (80.3,),
                "OOD head": (79.6,),
                "Prior Entropy": (70.5,),
                "Dirichlet prior": (70.5,),
                "Void Classifier": (70.4,),
            },
        ),
        note="published rows are DeepLabV3+ with a wide ResNet-38",
    ),
    "cityscapes_640": Protocol(),
    "cityscapes_void": Protocol(
        published=_rows(
            "paper, table 3",
            (AUROC,),
            {
                "SynDenseHybrid": (91.7,),
                "OpenGAN": (88.5,),
                "MC dropout": (76.7,),
                "GMM": (76.5,),
                "ODIN": (75.5,),
                "K+1 classifier": (75.5,),
                "OpenMax": (75.1,),
                "GDM": (74.3,),
                "C2AE": (72.7,),
                "Max softmax": (72.1,),
                "OpenGAN-O": (70.9,),
                "Entropy": (69.7,),
            },
        )
    ),
    "lost_and_found": Protocol(components=_OBSTACLE_TRACK, distances=True),
}
"""Name of a data set -> its protocol."""

PUBLISHED_BY_DISTANCE: dict[str, tuple[tuple[float, float], ...]] = {
    "Max softmax": (
        (28.7, 16.4), (28.8, 29.7), (26.0, 28.8), (25.1, 44.2), (29.0, 41.3), (26.2, 47.8), (29.6, 44.7), (31.7, 43.2),
        (33.7, 45.3),
    ),
    "Max logit": (
        (76.1, 5.4), (73.9, 16.2), (78.2, 5.9), (69.6, 12.8), (72.6, 9.5), (70.2, 10.0), (71.0, 9.8), (74.0, 9.8),
        (73.9, 11.0),
    ),
    "SynBoost": (
        (93.7, 0.2), (78.7, 17.7), (76.9, 25.0), (70.0, 23.3), (65.6, 18.8), (58.5, 27.4), (59.8, 25.4), (60.0, 25.8),
        (53.3, 29.9),
    ),
    "DenseHybrid": (
        (90.7, 0.3), (89.8, 1.1), (92.9, 0.6), (89.1, 1.4), (89.5, 1.4), (87.7, 2.5), (85.0, 3.7), (85.6, 4.7),
        (82.1, 6.3),
    ),
}  # fmt: skip
"""Paper, table 6: method -> (AP, FPR95) in percent of the bins [5, 10) ... [45, 50) metres on LostAndFound test."""
