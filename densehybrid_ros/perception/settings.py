# SPDX-License-Identifier: Apache-2.0
"""The one table of parameters, of the node and of a replay: a field is a parameter, its default and its type."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.ego_mask import polygon_problem, read_ego_mask
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.perception.parameter import Parameter, parameter, rows

_LARGEST_AREA = 2**31 - 1
_FARTHEST = 10_000.0  # metres
_LONGEST = 3600.0  # seconds
_MOST_FRAMES = 1000

_HAZARDS = HazardSettings()


def _size_problem(size: Any) -> str | None:
    if len(size) != 2 or (min(size) <= 0 and any(size)):
        return f"{list(size)} is no width and height"
    if size[0] < size[1]:
        return f"{list(size)} is taller than wide: sizes are width, height; did you mean {list(size)[::-1]}?"
    return None


def _names_problem(names: Any) -> str | None:
    return None if tuple(names) == ("",) or (names and all(names)) else "give at least one name, such as ['road']"


def _cameras_problem(names: Any) -> str | None:
    if list(names) in ([], [""]):
        return None
    wrong = next((name for name in names if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)), None)
    if wrong is not None:
        return f"{wrong!r} is no name of a camera: use letters, digits and _, and no digit first"
    return None if len(set(names)) == len(names) else f"{list(names)}: give every camera a name of its own"


_live = partial(parameter, live=True)


def _publish_switch(topic: str) -> Any:
    return _live(True, f"Whether ~/output/{topic} is published while somebody subscribes to it.")


def _hazard(name: str, description: str, **row: Any) -> Any:
    """A live parameter that is the field of this name in ``HazardSettings``, with its default."""
    return _live(getattr(_HAZARDS, name), description, **row)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters at one moment. A frame is processed with one such snapshot."""

    autostart: bool = parameter(
        True, "Whether the node configures and activates itself. False: a lifecycle manager does."
    )
    model: str = parameter(
        "light",
        "Weights: a name in models/ (light, ldn121, ldn121_synthetic) or the path of a .safetensors file with its card "
        "beside it.",
    )
    backend: str = parameter(
        "auto",
        "How the network is run. auto takes the fastest that this machine has at once: fused kernels (on a GPU), a "
        "compiled engine from the cache, else eager. /diagnostics says which, and why.",
        choices=("auto", "eager", "inductor", "openvino", "tensorrt"),
    )
    precision: str = parameter(
        "auto",
        "Numbers that the network computes with. auto: fp16 on a GPU; on a CPU fp32, or what a compiled engine has.",
        choices=("auto", "fp16", "bf16", "fp32"),
    )
    device: str = parameter("auto", "Where the network runs: auto, cpu, cuda or cuda:N.")
    build_engine: bool = parameter(
        False,
        "Whether an engine that the cache lacks is compiled in the background, while frames go on; the node goes over "
        "to it between two frames. densehybrid compile does the same ahead of time.",
    )
    engine_cache: str = parameter(
        "", "Directory of compiled engines. Empty: densehybrid_ros in the user's cache directory."
    )
    input_policy: str = parameter(
        "exact",
        "How frames come to the network. exact: as they are; resize: stretched to input_size; letterbox: scaled to fit "
        "into it, the rest black. The outputs have the camera's size always.",
        choices=("exact", "resize", "letterbox"),
    )
    input_size: tuple[int, ...] = parameter(
        (0, 0),
        "Width and height in pixels of the network's input. 0, 0: the model card's. With input_policy exact the "
        "frames' own size counts.",
        problem=_size_problem,
    )
    warm_up_size: tuple[int, ...] = parameter(
        (0, 0),
        "Width and height in pixels of a frame that is run while the node configures, so that compilation does not "
        "fall on the first camera frame. 0, 0: a small frame, which only tells whether the model works.",
        problem=_size_problem,
    )
    cameras: tuple[str, ...] = parameter(
        ("",),
        "Names of several cameras that share the model, such as ['front', 'left']: the topics of each are "
        "~/NAME/input/... and ~/NAME/output/..., and ~/input/odometry is common. ['']: one camera, on ~/input/... and "
        "~/output/... .",
        problem=_cameras_problem,
    )
    camera_window: float = _live(
        0.0,
        "Seconds that the first frame waits, at most, for those of the other cameras. One is then uploaded to the GPU "
        "while another is computed; each is a pass of its own. 0: none waits. Nor does one on a CPU.",
        span=(0.0, 1.0),
    )
    input_transport: str = parameter(
        "auto",
        "What ~/input/image carries: raw is sensor_msgs/Image, compressed is sensor_msgs/CompressedImage (JPEG, PNG). "
        "auto: what its publishers send; raw where both are sent.",
        choices=("auto", "raw", "compressed"),
    )
    input_reliability: str = parameter(
        "best_effort",
        "Reliability of the image and disparity subscriptions. best_effort matches every publisher; reliable loses no "
        "frame on the way but matches reliable publishers only.",
        choices=("best_effort", "reliable"),
    )
    source_timeout: float = _live(
        2.0,
        "Seconds without a frame after which the node warns, naming the publishers and both sides' QoS, and the alert "
        "turns STALE. Odometry that is older is not used. A picture that stays the same for longer is named as that of "
        "a frozen camera, and the alert is a WARN at least.",
        span=(0.1, _LONGEST),
    )
    max_age: float = _live(
        1.0,
        "Seconds that a frame's stamp may lie behind or ahead of the node's clock; beyond, the alert is STALE. Stamps "
        "of another clock, as of a recording played without /clock, may drift by as much. 0: any.",
        span=(0.0, _LONGEST),
    )
    max_image_pixels: int = _live(
        0,
        "Pictures of more pixels are rejected before they are decoded. 0: four times those of the model card's size.",
        span=(0, _LARGEST_AREA),
    )
    input_bits: int = _live(
        16,
        "Bits that count of a 16-bit encoding (mono16, rgb16, bayer_rggb16 ...) or PNG: 10 or 12 of many cameras.",
        span=(8, 16),
    )
    camera_height: float = _live(
        0.0,
        "Metres of the camera above the road, while base_frame does not give it. 0: unknown; then only disparity "
        "tells distances.",
        span=(0.0, 100.0),
    )
    camera_pitch: float = _live(
        0.0,
        "Radians by which the optical axis points below the horizon, while base_frame does not give it.",
        span=(-0.5, 0.5),
    )
    base_frame: str = parameter(
        "",
        "Frame on the road (x ahead, y left, z up), such as base_footprint, against which /tf and /tf_static give the "
        "camera's height and pitch. Empty: camera_height and camera_pitch do.",
    )
    disparity_tolerance: float = _live(
        0.05,
        "Seconds by which the stamps of a disparity image and of its frame may differ.",
        span=(0.0, 10.0),
    )
    ego_speed: float = _live(
        0.0,
        "Speed of the vehicle in m/s while ~/input/odometry does not give it. 0: unknown or standing; hazards are then "
        "judged by distance alone.",
        span=(0.0, 150.0),
    )
    threshold_name: str = parameter(
        "", "Which threshold of the model card is used while anomaly_threshold is not set. Empty: the card's default."
    )
    anomaly_threshold: float | None = _live(
        None,
        "A pixel is unknown where its score (nats) exceeds this. Unset: taken from the model card when the node "
        "configures, and shown here from then on.",
        span=(-1000.0, 1000.0),
    )
    roi: tuple[float, ...] = _hazard(
        "roi",
        "Polygon x1, y1, x2, y2, ... inside which unknown regions count as hazards, in fractions of the image's "
        "width and height. The masks are not cut.",
        problem=polygon_problem,
    )
    ego_mask: str = _live(
        "",
        "Where nothing counts as a hazard, such as on the own vehicle: the path of a grey picture, of the image's "
        "proportions, whose pixels above 0 never count, or a polygon x1,y1,x2,y2,... as in roi. densehybrid tune "
        "proposes a picture. Empty: none. The masks are not cut. A changed file is read when a parameter is set.",
    )
    on_road_only: bool = _hazard(
        "on_road_only", "Whether an unknown region must lie on, or reach onto, the drivable surface to be a hazard."
    )
    drivable_classes: tuple[str, ...] = _hazard(
        "drivable_classes",
        "Names of the model's classes that are drivable. ['']: those that its card marks as drivable.",
        problem=_names_problem,
    )
    road_prior: float = _hazard(
        "road_prior",
        "Nats by which the score that hazards are found with is lowered away from the ground (drivable classes, road, "
        "sidewalk): in full from a fiftieth of the image's width on. 0: not at all. It needs on_road_only.",
        span=(0.0, 1000.0),
    )
    corridor_half_width: float = _hazard(
        "corridor_half_width",
        "Metres to each side of the optical axis within which hazards count; 0: everywhere. Hazards whose position is "
        "unknown count always.",
        span=(0.0, _FARTHEST),
    )
    min_hazard_area: int = _hazard(
        "min_hazard_area", "Unknown regions of fewer pixels are no hazards.", span=(1, _LARGEST_AREA)
    )
    max_hazards: int = _hazard(
        "max_hazards",
        "Unknown regions a frame that are judged, the largest first; the alert counts those left out.",
        span=(1, 10_000),
    )
    hazard_probability: float = _hazard(
        "hazard_probability",
        "Unknown regions that are obstacles with a lower probability are no hazards. It counts where the model's card "
        "has a classifier of regions (densehybrid calibrate --by regions).",
        span=(0.0, 1.0),
    )
    flat_height: float = _hazard(
        "flat_height",
        "Metres. What disparity shows to be lower than this above the road about it is no hazard: manhole covers, "
        "chalk, shadows. It needs the camera's height. 0: off.",
        span=(0.0, 10.0),
    )
    trigger_count: int = _hazard(
        "trigger_count",
        "Frames with the hazard, of the last trigger_window, that raise the alert.",
        span=(1, _MOST_FRAMES),
    )
    trigger_window: int = _hazard(
        "trigger_window", "Frames that trigger_count looks at; at least as many.", span=(1, _MOST_FRAMES)
    )
    release_count: int = _hazard(
        "release_count", "Frames in a row without the hazard that clear the alert.", span=(1, _MOST_FRAMES)
    )
    max_gap: int = _hazard(
        "max_gap", "Frames in a row without a hazard after which its id is forgotten.", span=(0, _MOST_FRAMES)
    )
    max_pause: float = _hazard(
        "max_pause", "Seconds between two frames after which all hazards start over.", span=(0.0, _LONGEST)
    )
    warn_distance: float = _hazard(
        "warn_distance", "Metres within which a hazard is at least a WARN.", span=(0.0, _FARTHEST)
    )
    error_distance: float = _hazard(
        "error_distance", "Metres within which a hazard is an ERROR; at most warn_distance.", span=(0.0, _FARTHEST)
    )
    warn_time: float = _hazard(
        "warn_time",
        "Seconds to reach a hazard at the ego speed within which it is at least a WARN.",
        span=(0.0, _LONGEST),
    )
    error_time: float = _hazard(
        "error_time",
        "Seconds to reach a hazard at the ego speed within which it is an ERROR; at most warn_time.",
        span=(0.0, _LONGEST),
    )
    disparity_noise: float = _hazard(
        "disparity_noise", "Standard deviation of an object's disparity in pixels.", span=(0.0, 100.0)
    )
    foot_row_noise: float = _hazard(
        "foot_row_noise",
        "Standard deviation, in pixels, of the row at which an object meets the ground.",
        span=(0.0, 1000.0),
    )
    pitch_noise: float = _hazard(
        "pitch_noise",
        "Standard deviation of the camera's pitch in radians, the nodding of the vehicle included.",
        span=(0.0, 1.0),
    )
    publish_hazard_alert: bool = _publish_switch("hazard_alert")
    publish_hazard_points: bool = _publish_switch("hazard_points")
    publish_hazard_markers: bool = _publish_switch("hazard_markers")
    publish_hazards: bool = parameter(
        True, "Whether ~/output/hazards is published while somebody subscribes to it; it needs vision_msgs.", live=True
    )
    publish_semantic: bool = _publish_switch("semantic")
    publish_anomaly_score: bool = _publish_switch("anomaly_score")
    publish_road_hazard: bool = _publish_switch("road_hazard")
    publish_confidence: bool = _publish_switch("confidence")
    publish_open_set: bool = _publish_switch("open_set")
    publish_overlay: bool = _publish_switch("overlay")
    publish_ground_points: bool = _publish_switch("ground_points")
    publish_ground_open_set: bool = _publish_switch("ground_open_set")
    publish_ground_class_confidence: bool = _publish_switch("ground_class_confidence")
    points_decimation: int = _live(
        4,
        "The ~/output/ground_ outputs hold one pixel of so many in a row and in a column. 1: all of them.",
        span=(1, 64),
    )
    score_encoding: str = parameter(
        "32FC1",
        "Encoding of ~/output/anomaly_score and ~/output/road_hazard. 32FC1: nats; 16UC1: half the bytes, nats = scale "
        "* value + offset, which the latched ~/output/anomaly_score_scale gives.",
        choices=("32FC1", "16UC1"),
    )
    overlay_opacity: float = _live(
        0.5,
        "How strongly class colours cover the picture in the overlay: 0 not at all, 1 fully.",
        span=(0.0, 1.0),
    )

    @cached_property
    def hazards(self) -> HazardSettings:
        """The values that the hazard stage takes; raises InputError where one is not allowed, or two contradict."""
        values = {item.name: getattr(self, item.name) for item in fields(HazardSettings)}
        for name, value in values.items():
            PARAMETERS[name].check(value)
        window, count = self.trigger_window, self.trigger_count
        if window < count:
            raise InputError(f"parameter trigger_window {window} is below trigger_count {count}: nothing would rise")
        try:
            return HazardSettings(**values | {"ego_mask": read_ego_mask(self.ego_mask)})
        except InputError as error:
            raise InputError(f"parameter ego_mask: {error}") from error

    def check(self) -> None:
        """Checks what no parameter can be checked for on its own; raises InputError."""
        for what in ("distance", "time"):
            error, warn = getattr(self, f"error_{what}"), getattr(self, f"warn_{what}")
            if error > warn:
                raise InputError(f"parameter error_{what}: {error:g} exceeds warn_{what} {warn:g}; raise that as well")
        _ = self.hazards


_GROUPS = {
    "autostart": "Life cycle",
    "model": "Model",
    "cameras": "Input",
    "camera_height": "Camera",
    "threshold_name": "Hazards",
    "publish_hazard_alert": "Outputs",
}

PARAMETERS: dict[str, Parameter] = rows(Settings, _GROUPS)
"""Name -> row, in the order of the table."""
