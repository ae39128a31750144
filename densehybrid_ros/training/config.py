"""The configuration of a training run; ``config_file`` reads it from YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.pasting import PasteConfig

STAGES = ("closed_set", "open_set", "flow")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
OPTIMIZERS = ("adamw", "adam", "adamax")
SCHEDULES = ("cosine", "constant")
SOURCES = ("cutouts", "dataset", "flow", "void")
LOSSES = ("hybrid", "ood_head", "outlier_exposure", "energy", "k_plus_1")
NO_MODEL = ("random", "imagenet")
"""What ``init`` may be beside a model."""
_OF_ANY_SIGN = ("likelihood_floor", "likelihood_ceiling", "margin_inlier", "margin_outlier")  # nats
_RISING = ("scale", "count", "size")  # pairs of a smallest and a largest value
_UNBOUNDED = ("clip_norm",)


@dataclass
class DataConfig:
    """What is trained and validated on.

    Attributes:
        cityscapes_640: Folder with ``train`` and ``val``; held in memory whole, on the device.
        sets: Name of a data set (docs/datasets.md) -> its folder; ``folder`` is one of your own frames with its
            classes.yaml (docs/your-data.md). Read from the files step by step. Frames of all sets are drawn alike, so
            that large sets count for more, unless ``weights`` says otherwise.
        weights: Name of a data set -> how often its frames are drawn beside those of a set that is not named.
        limit: At most this many training frames of each set (evenly spread); all where null.
        validation_limit: The same for validation.
        rendered_frames: Number of rendered scenes held in memory; 0 = none.
        rendered_share: Share of the crops that come from rendered scenes.
        rendered_size: (width, height) of a rendered scene.
        workers: Processes, at most one a core, that decode frames and prepare crops and negatives; 0 = none, all in the
            training loop.
        prefetch: Number of batches that they prepare ahead.
    """

    cityscapes_640: str | None = None
    sets: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    validation_limit: int | None = None
    rendered_frames: int = 0
    rendered_share: float = 0.0
    rendered_size: tuple[int, int] = (1280, 640)
    workers: int = 8
    prefetch: int = 3


@dataclass
class NegativesConfig(PasteConfig):
    """Which negatives are pasted, and how.

    Attributes:
        source: ``cutouts`` (a folder of them), ``dataset`` (ADE20k, COCO, ... by a recipe), ``flow`` (samples of a
            jointly trained flow, section 4.2) or ``void`` (nothing is pasted: pixels of the unknown ids of the frames
            are the negatives or, where no set names such ids, void ones, as in the void classifier).
        root: Folder of the cut-outs or of the data set.
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
class FlowPartnerConfig:
    """The flow that makes negatives, and how it learns beside the model: where ``negatives.source`` is ``flow``.

    Attributes:
        weights: ``.safetensors`` of a pre-trained flow.
        learning_rate: Of Adamax.
        jsd_weight: lambda of equation (20).
        size: Smallest and largest side of a patch in pixels, multiples of 8; height and width are drawn independently,
            once for all patches of a batch.
    """

    weights: str | None = None
    learning_rate: float = 1e-5
    jsd_weight: float = 0.03
    size: tuple[int, int] = (16, 216)


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
        margin_inlier: Of ``energy``: the energy -ln p̂ of inliers is pushed below this.
        margin_outlier: Of ``energy``: the energy of outliers is pushed above this.
        jaccard: Weight of ``losses.jaccard_loss``, which counts classes alike, beside any of these; 0 = off.
        distillation: Weight of the divergence from a frozen teacher on inlier pixels, which holds the closed-set
            accuracy; 0 = off.
        hints: Weight of the distance of the encoder's features from the teacher's, which stands in for pre-training
            where an encoder has none; 0 = off.
        score_distillation: Weight of the distance of both halves of the hybrid score from the teacher's, on inliers and
            outliers; 0 = off. In the closed-set stage the second head learns by nothing else.
        teacher_scales: Scales of a crop at which the teacher judges for ``distillation`` and ``score_distillation``;
            their mean is learnt.
        keenest_on_outliers: Whether ``score_distillation`` learns, on outliers, not that mean but the scale that finds
            a pixel most unknown; goes with several ``teacher_scales``.
        plain_teacher: Whether the teacher sees crops as they are before their colours are changed, so that the model
            learns not to mind the changes; what is pasted is in both.
        teacher: ``.safetensors`` of a model of any architecture with the same classes; null = the model that the run
            starts from.
    """

    kind: str = "hybrid"
    weighting: str = "paper"
    beta: float = 0.03
    likelihood_floor: float | None = None
    likelihood_ceiling: float = 5.0
    posterior_weight: float = 0.3
    hard_share: float = 0.0
    margin_inlier: float = -15.0
    margin_outlier: float = -5.0
    jaccard: float = 0.0
    distillation: float = 0.0
    hints: float = 0.0
    score_distillation: float = 0.0
    teacher_scales: tuple[float, ...] = (1.0,)
    keenest_on_outliers: bool = False
    plain_teacher: bool = False
    teacher: str | None = None


@dataclass
class TrainConfig:
    """A training run.

    Attributes:
        name: Name of the model; also of its files.
        architecture: As ``networks.build_network`` takes it, or a key of ``dense_flow.FLOWS`` in the stage ``flow``.
        stage: ``closed_set`` (loss 9), ``open_set`` (negatives, see ``loss``) or ``flow`` (likelihood of crops).
        init: ``random``, ``imagenet`` (its encoder alone), or a model to go on from: a shipped name or a
            ``.safetensors`` file. Where the data have other classes, its classifier gets theirs, and keeps the rows of
            those of the same name.
        encoder_weights: The file of ``init: imagenet``; null = that of the package of ``light``.
        seed: Repeats a run on the CPU bit for bit.
        steps: Number of parameter updates.
        batch_size: Crops an update, over all processes and accumulated parts.
        accumulate: Number of parts that a process computes one after the other, to save memory.
        optimizer: ``adamw``, ``adam`` or ``adamax``.
        learning_rate: Peak of the schedule.
        schedule: ``cosine`` or ``constant``, after the warm-up.
        encoder_rate_factor: The encoder learns at this share of the rate.
        weight_decay: Decoupled (AdamW) or added to the gradient (the others).
        warmup_steps: Linear warm-up.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the exponential moving average, which is what gets saved; 0 = none.
        precision: ``auto`` (bfloat16 autocast on a GPU, float32 on a CPU), ``bf16``, ``fp16`` or ``fp32``.
        cuda_graph: Whether to replay the network's passes as a CUDA graph, without kernel launches.
        freeze_norm: Whether the network's batch-norm statistics stay as they are in ``init``.
        sync_norm: Whether processes share batch-norm statistics of their crops (GPU only).
        validate_every: Steps between validations; 0 = at the end only.
        checkpoint_every: Steps between checkpoints to resume from; 0 = at the end only.
        picture_every: Steps between pictures; 0 = at the end only.
        log_every: Steps between logged losses.
        crops: How crops are drawn.
        data: What is trained on.
        negatives: What is pasted, in the open-set stage.
        flow: The jointly trained flow.
        loss: The open-set loss.
        terms: Terms of use that the data impose on the weights; goes into the model card.
    """

    name: str
    architecture: str
    stage: str = "closed_set"
    init: str = "random"
    encoder_weights: str | None = None
    seed: int = 1
    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    encoder_rate_factor: float = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    clip_norm: float = 10.0
    ema_decay: float = 0.999
    precision: str = "auto"
    cuda_graph: bool = False
    freeze_norm: bool = False
    sync_norm: bool = False
    validate_every: int = 0
    checkpoint_every: int = 0
    picture_every: int = 0
    log_every: int = 20
    crops: CropConfig = field(default_factory=CropConfig)
    data: DataConfig = field(default_factory=DataConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    flow: FlowPartnerConfig = field(default_factory=FlowPartnerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    terms: str = ""

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("stage", self.stage, STAGES),
            ("precision", self.precision, PRECISIONS),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
            ("negatives.source", self.negatives.source, SOURCES),
            ("loss.kind", self.loss.kind, LOSSES),
            ("loss.weighting", self.loss.weighting, ("paper", "authors", "margins")),
        ):
            if value not in choices:
                raise InputError(f"{key}={value}: choose one of {', '.join(choices)}")
        for key in ("steps", "batch_size", "accumulate", "log_every"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}={getattr(self, key)}: must be at least 1")
        for key in ("learning_rate", "clip_norm"):
            if not getattr(self, key) > 0:
                raise InputError(f"{key}={getattr(self, key)}: must be above 0")
        width, height = self.data.rendered_size
        if height > width:
            raise InputError(f"data.rendered_size={[width, height]}: is [width, height]; write {[height, width]}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay={self.ema_decay}: must be at least 0 and below 1")
        if self.batch_size % self.accumulate:
            raise InputError(f"batch_size={self.batch_size}: must be a multiple of accumulate={self.accumulate}")
        for section in ("", "crops", "data", "negatives", "flow", "loss"):
            _check_numbers(section, getattr(self, section) if section else self)
        if self.encoder_weights is not None and self.init != "imagenet":
            raise InputError(f"encoder_weights={self.encoder_weights}: needs init=imagenet, not {self.init}")
        if self.joint:
            self._check_patches()
        self._check_lessons()
        if self.cuda_graph and self.accumulate > 1:
            raise InputError(f"cuda_graph=true: not with accumulate={self.accumulate}; set cuda_graph=false")

    def _check_lessons(self) -> None:
        loss = self.loss
        if loss.score_distillation > 0 and self.stage == "flow":
            raise InputError("loss.score_distillation: a flow has no score; use stage=closed_set or open_set, or set 0")
        if loss.score_distillation > 0 and self.stage == "open_set" and loss.kind != "hybrid":
            raise InputError(
                f"loss.score_distillation: the hybrid score is learnt with loss.kind=hybrid, not {loss.kind}"
            )
        if loss.plain_teacher and not (loss.distillation > 0 or loss.score_distillation > 0 or loss.hints > 0):
            raise InputError(
                "loss.plain_teacher=true: nothing is learnt of a teacher; set loss.distillation, or set false"
            )
        if not loss.teacher_scales or not all(0.1 <= scale <= 4 for scale in loss.teacher_scales):
            raise InputError(f"loss.teacher_scales={list(loss.teacher_scales)}: give one or more scales within 0.1..4")
        if loss.keenest_on_outliers and not (
            self.stage == "open_set" and loss.score_distillation > 0 and len(loss.teacher_scales) > 1
        ):
            raise InputError(
                "loss.keenest_on_outliers=true: goes with stage=open_set, loss.score_distillation above 0 and several "
                "loss.teacher_scales; set false"
            )

    @property
    def joint(self) -> bool:
        """Whether a flow that learns along makes negatives."""
        return self.stage == "open_set" and self.negatives.source == "flow"

    def _check_patches(self) -> None:
        smallest, largest = self.flow.size
        if smallest % 8 or not 8 <= smallest <= largest:
            raise InputError(f"flow.size={[smallest, largest]}: use multiples of 8")
        if largest > min(self.crops.height, self.crops.width):
            raise InputError(
                f"flow.size={[smallest, largest]}: larger than the crops; lower it or enlarge crops.height"
            )
        # A captured backward pass overwrites the activations that it has read, so that it can't be run twice.
        if self.cuda_graph:
            raise InputError("cuda_graph=true: not with a flow that learns along, whose step runs two backward passes")


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
        if not value >= 0 or (value == math.inf and each.name not in _UNBOUNDED):
            raise InputError(f"{key}={value}: must be a finite number of at least 0")
