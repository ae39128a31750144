"""Point clouds out of structured arrays."""

from __future__ import annotations

import sys

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from densehybrid_ros.nodes.messages import fill_data

_KINDS = {"f4": PointField.FLOAT32, "u4": PointField.UINT32, "u1": PointField.UINT8}


def point_cloud(header: Header, points: np.ndarray) -> PointCloud2:
    """Makes a cloud with a field for each one of the array.

    Args:
        header: Taken over as it is.
        points: C-contiguous, of float32, uint32 and uint8: [N], all finite, or organised [H, W], which may hold NaN.
    """
    width = points.shape[-1]
    message = PointCloud2(header=header, height=points.size // max(width, 1) or 1, width=width)
    for name, (kind, offset, *_) in (points.dtype.fields or {}).items():
        message.fields.append(PointField(name=name, offset=offset, datatype=_KINDS[kind.str[1:]], count=1))
    message.is_bigendian = sys.byteorder == "big"
    message.is_dense = points.ndim == 1
    message.point_step, message.row_step = points.itemsize, points.itemsize * width
    if points.size:
        fill_data(message, points.view(np.uint8))
    return message
