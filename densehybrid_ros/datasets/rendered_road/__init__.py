# SPDX-License-Identifier: Apache-2.0
"""The project's own rendered road: frames with exact labels, depth and camera, made from a seed."""

from densehybrid_ros.datasets.rendered_road.drive import render_drive, render_scene, standard_camera
from densehybrid_ros.datasets.rendered_road.frame import RenderedFrame, RoadObject
from densehybrid_ros.datasets.rendered_road.lost_and_found import write_lost_and_found

__all__ = ["RenderedFrame", "RoadObject", "render_drive", "render_scene", "standard_camera", "write_lost_and_found"]
