# SPDX-License-Identifier: Apache-2.0
"""Perception of several cameras: ``ros2 launch densehybrid_ros multi_camera.launch.py cameras:=front,left,right``.

Every camera has a node, a process in the namespace of the camera; with ``one_process:=true`` one node takes them all,
on one model. The other arguments are those of perception.launch.py and hold for all nodes.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

PERCEPTION = Path(__file__).with_name("perception.launch.py")


def nodes(context: LaunchContext) -> list:
    """Returns perception.launch.py once a camera, or once for all."""
    given, image, camera_info = (
        LaunchConfiguration(name).perform(context) for name in ("cameras", "image", "camera_info")
    )
    cameras = [name.strip().strip("/") for name in given.split(",")]
    if not all(name.replace("/", "_").isidentifier() for name in cameras) or len(set(cameras)) < len(cameras):
        raise RuntimeError(f"cameras:={given}: write different names, such as cameras:=front,left,right")
    if LaunchConfiguration("one_process").perform(context) == "true":
        given_arguments = [{"cameras": ",".join(cameras), "image": image, "camera_info": camera_info}]
    else:
        given_arguments = [
            {
                "cameras": "",
                "namespace": camera,
                "image": f"/{camera}/{image}",
                "camera_info": f"/{camera}/{camera_info}",
            }
            for camera in cameras
        ]
    source = PythonLaunchDescriptionSource(str(PERCEPTION))
    return [IncludeLaunchDescription(source, launch_arguments=given.items()) for given in given_arguments]


def generate_launch_description() -> LaunchDescription:
    """Returns what ``ros2 launch`` starts."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cameras", description="Names of the cameras, such as front,left,right."),
            DeclareLaunchArgument(
                "one_process",
                default_value="false",
                choices=["true", "false"],
                description="Whether one process takes all cameras; topics are then /perception/CAMERA/output/....",
            ),
            DeclareLaunchArgument("image", default_value="image_raw", description="Image topic below /CAMERA/."),
            DeclareLaunchArgument(
                "camera_info", default_value="camera_info", description="sensor_msgs/CameraInfo below /CAMERA/."
            ),
            OpaqueFunction(function=nodes),
        ]
    )
