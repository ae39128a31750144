# SPDX-License-Identifier: Apache-2.0
"""The configuration of a training run; ``config_file`` reads it from YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.losses import BASELINE_LOSSES
from densehybrid_ros.training.pasting import PasteConfig

STAGES = ("closed_set", "open_set", "flow")
SCHEDULES = ("cosine", "constant")
SOURCES = ("cutouts", "dataset", "flow", "void")
SMALLEST_PATCH = 16
"""Pixels of the shortest side of a flow's patch."""
IMAGENET = "imagenet"
_OF_ANY_SIGN = ("likelihood_floor", "likelihood_ceiling")  # nats
_RISING = ("scale", "count", "size", "ground_size")  # pairs of a smallest and a largest value


@dataclass
class DataConfig:
    """What is trained and validated on.

    Attributes:
        cityscapes_640: Folder with ``train`` and ``val``; held in memory whole, on the device.
        sets: Name of a data set (docs/datasets.md) -> its folder; ``folder`` is one of your own frames with its
            classes.yaml (docs/your-data.md). Read from the files step by step. Frames of all sets are drawn alike, so
            that large sets count for more, unless ``weights`` says otherwise.
        weights: Name of a data set -> how often one of its frames is drawn beside one of a set that is not named.
        limit: At most this many frames of each set and split (evenly spread); all where null.
        workers: Processes, at most one a core, that decode frames and prepare crops and negatives; 0 = none, all in the
            training loop.
    """

    cityscapes_640: str | None = None
    sets: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    workers: int = 10


@dataclass
class NegativesConfig(PasteConfig):
    """Which negatives are pasted, and how.

    Attributes:
        source: ``cutouts`` (a folder of them), ``dataset`` (ADE20k, COCO, ... by a recipe), ``flow`` (samples of a
            flow that learns beside the model, section 4.2) or ``void`` (nothing is pasted: pixels of the unknown ids of
            the frames are the negatives or, where no set names such ids, void ones, as in the void classifier).
        root: Folder of the cut-outs or of the data set, or the ``.safetensors`` file of the pre-trained flow.
        dataset: Name in ``datasets.registry.NEGATIVE_SETS``.
        recipe: Name in ``datasets.negative_recipes.RECIPES``.
        labelled: Whether real unknowns that the labels of the frames name are negatives as well.
        ground_textures: Folder of pictures of asphalt seen from above; patches of them are laid on the road as road.
    """

    source: str = "cutouts"
    root: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    labelled: bool = False
    ground_textures: str | None = None


@dataclass
class LossConfig:
    """The open-set loss.

    Attributes:
        kind: ``hybrid`` (equation 17), or a baseline: ``ood_head``, ``outlier_exposure``, ``energy``, ``k_plus_1``.
        weighting: Of ``hybrid``: ``paper`` (equation 17), ``authors`` (their public code) or ``margins`` (17 with every
            term bounded).
        beta: Weight of the negatives; with ``margins``, of the likelihood.
        likelihood_floor: ln p̂ of negatives is not pushed below this (the energy margin against divergence); null =
            unbounded, as in the paper.
        likelihood_ceiling: Of ``margins``: ln p̂ of inliers is not pushed above this.
        posterior_weight: Of ``margins``: weight of the dataset posterior's loss.
        hard_share: Of ``margins``: share of inlier pixels, the hardest, that count for half of the inliers' posterior.
        distillation: Weight of the divergence, on inlier pixels, from the model that the run starts from, which holds
            the closed-set accuracy; 0 = off.
    """

    kind: str = "hybrid"
    weighting: str = "paper"
    beta: float = 0.03
    likelihood_floor: float | None = None
    likelihood_ceiling: float = 5.0
    posterior_weight: float = 0.3
    hard_share: float = 0.0
    distillation: float = 0.0


@dataclass
class TrainConfig:
    """A training run.

    Attributes:
        name: Name of the model; also of its files.
        architecture: As ``networks.build_network`` takes it, or a key of ``dense_flow.FLOWS`` in the stage ``flow``.
        stage: ``closed_set`` (loss 9), ``open_set`` (negatives, see ``loss``) or ``flow`` (likelihood of crops).
        init: ``random``, ``imagenet`` (the encoder alone: that of ``light`` from its package, of others from the file
            that ``imagenet:FILE`` names), or a model to go on from: a shipped name or a ``.safetensors`` file. Where
            the data have other classes, its classifier gets theirs, and keeps the rows of those of the same name.
        seed: Repeats a run on the CPU bit for bit.
        steps: Number of parameter updates.
        batch_size: Crops an update, over all processes.
        learning_rate: Peak of the schedule.
        schedule: ``cosine`` or ``constant``, after the warm-up.
        encoder_rate_factor: The encoder learns at this share of the rate.
        weight_decay: Decoupled (AdamW), or added to the gradient (Adamax, which flows learn by).
        warmup_steps: Linear warm-up.
        ema_decay: Decay of the exponential moving average, which is what gets saved; 0 = none.
        cuda_graph: Whether to replay the network's passes as a CUDA graph, without kernel launches.
        validate_every: Steps between validations, and pictures; 0 = at the end only.
        checkpoint_every: Steps between checkpoints to resume from; 0 = at the end only.
        crops: How crops are drawn.
        data: What is trained on.
        negatives: What is pasted, in the open-set stage.
        loss: The open-set loss.
        terms: Terms of use that the data impose on the weights; goes into the model card.
    """

    name: str
    architecture: str
    stage: str = "closed_set"
    init: str = "random"
    seed: int = 1
    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    encoder_rate_factor: float = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.999
    cuda_graph: bool = False
    validate_every: int = 0
    checkpoint_every: int = 0
    crops: CropConfig = field(default_factory=CropConfig)
    data: DataConfig = field(default_factory=DataConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    terms: str = ""

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("stage", self.stage, STAGES),
            ("schedule", self.schedule, SCHEDULES),
            ("negatives.source", self.negatives.source, SOURCES),
            ("loss.kind", self.loss.kind, ("hybrid", *BASELINE_LOSSES)),
            ("loss.weighting", self.loss.weighting, ("paper", "authors", "margins")),
        ):
            if value not in choices:
                raise InputError(f"{key}={value}: choose one of {', '.join(choices)}")
        for key in ("steps", "batch_size"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}={getattr(self, key)}: must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate={self.learning_rate}: must be above 0")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay={self.ema_decay}: must be at least 0 and below 1")
        for section in ("", "crops", "data", "negatives", "loss"):
            _check_numbers(section, getattr(self, section) if section else self)
        if self.joint and min(self.crops.height, self.crops.width) < SMALLEST_PATCH:
            raise InputError(f"crops: must be {SMALLEST_PATCH} pixels high and wide for the patches of a flow")
        # A captured backward pass overwrites the activations that it has read, so that it can't be run twice.
        if self.joint and self.cuda_graph:
            raise InputError("cuda_graph=true: not with a flow that learns along, whose step runs two backward passes")

    @property
    def joint(self) -> bool:
        """Whether a flow that learns along makes negatives."""
        return self.stage == "open_set" and self.negatives.source == "flow"

    @property
    def goes_on(self) -> bool:
        """Whether ``init`` is a model."""
        return is_model(self.init)


def is_model(init: str) -> bool:
    """Whether a run's ``init`` is a model to go on from."""
    return init != "random" and init.partition(":")[0] != IMAGENET


def _check_numbers(section: str, values: Any) -> None:
    """Checks what holds for all numbers of a section: shares and probabilities, signs, and pairs that rise."""
    for each in fields(values):
        value, key = getattr(values, each.name), f"{section}.{each.name}".lstrip(".")
        if isinstance(value, tuple) and each.name in _RISING:
            low, high = value
            bound, begins = ("of at least 0", low >= 0) if each.name == "count" else ("above 0", low > 0)
            if not (begins and low <= high < math.inf):
                raise InputError(f"{key}={[low, high]}: must be two numbers {bound}, the smaller one first")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or each.name in _OF_ANY_SIGN:
            continue
        if each.name.endswith(("_share", "probability")) and not 0 <= value <= 1:
            raise InputError(f"{key}={value}: must be within 0..1")
        if not 0 <= value < math.inf:
            raise InputError(f"{key}={value}: must be a finite number of at least 0")
