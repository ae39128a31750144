# SPDX-License-Identifier: Apache-2.0
"""The project's own rendered road: frames with exact labels, depth and camera, made from a seed."""

from densehybrid_ros.datasets.rendered_road.drive import RenderedFrame, render_drive, standard_camera

__all__ = ["RenderedFrame", "render_drive", "standard_camera"]
