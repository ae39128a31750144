"""A perception node for each camera: ``ros2 launch densehybrid_ros multi_camera.launch.py cameras:=front,left,right``.

Every node is a process in the namespace of its camera. The other arguments are those of perception.launch.py and hold
for all nodes.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

PERCEPTION = Path(__file__).with_name("perception.launch.py")


def nodes(context: LaunchContext) -> list:
    """Returns perception.launch.py once a camera."""
    given, image, camera_info = (
        LaunchConfiguration(name).perform(context) for name in ("cameras", "image", "camera_info")
    )
    cameras = [name.strip().strip("/") for name in given.split(",")]
    if not all(name.replace("/", "_").isidentifier() for name in cameras) or len(set(cameras)) < len(cameras):
        raise RuntimeError(f"cameras:={given}: write different names, such as cameras:=front,left,right")
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(PERCEPTION)),
            launch_arguments={
                "namespace": camera,
                "image": f"/{camera}/{image}",
                "camera_info": f"/{camera}/{camera_info}",
            }.items(),
        )
        for camera in cameras
    ]


def generate_launch_description() -> LaunchDescription:
    """Returns what ``ros2 launch`` starts."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cameras", description="Namespaces of the cameras, such as front,left,right."),
            DeclareLaunchArgument("image", default_value="image_raw", description="Image topic below /CAMERA/."),
            DeclareLaunchArgument(
                "camera_info", default_value="camera_info", description="sensor_msgs/CameraInfo below /CAMERA/."
            ),
            OpaqueFunction(function=nodes),
        ]
    )
