# SPDX-License-Identifier: Apache-2.0
"""Starts the perception node: ``ros2 launch densehybrid_ros perception.launch.py image:=/camera/image_raw``.

An argument left empty leaves that setting to the parameter file and to an enclosing launch file's ``SetParameter``.
``--show-args`` lists them all.
"""

import shutil
from difflib import get_close_matches
from math import isfinite
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = "densehybrid_ros"
ARGUMENTS = {
    "namespace": ("", "Namespace of the node."),
    "params_file": ("", "Parameter file of the node; config/perception.param.yaml of the package is a start."),
    "cameras": (
        "",
        "Names of several cameras for this one process, such as front,left,right; then image, camera_info and "
        "disparity are names below /CAMERA/.",
    ),
    "image": ("~/input/image", "Image topic, raw or compressed (it then ends in /compressed)."),
    "camera_info": ("~/input/camera_info", "sensor_msgs/CameraInfo of the image: distances on the road."),
    "disparity": ("~/input/disparity", "stereo_msgs/DisparityImage of the same view: measured distances."),
    "odometry": ("~/input/odometry", "nav_msgs/Odometry: speed, for the time to reach."),
    "camera_height": ("", "Metres of the camera above the road, if TF does not say."),
    "base_frame": ("", "Frame on the road against which TF gives the camera's mount."),
    "input_transport": ("", "sensor_msgs/Image (raw), sensor_msgs/CompressedImage (compressed), or either (auto)."),
    "model": ("", "Name of a shipped model, or path of its .safetensors."),
    "backend": ("", "What runs the network; see `densehybrid info`."),
    "use_sim_time": ("", "true or false: follow /clock, as with a bag."),
    "autostart": ("", "true or false: the node configures and activates itself; else a lifecycle manager has to."),
    "required": ("true", "true or false: launch ends with the node, and with status 1 if the node does not end well."),
    "log_level": ("info", "Least severe messages that the node logs."),
}
"""Name -> default and description."""
CHOICES = {
    "input_transport": ["", "auto", "raw", "compressed"],
    "log_level": ["debug", "info", "warn", "error", "fatal"],
}
INPUTS = ("image", "camera_info", "disparity", "odometry")
"""Arguments that are topics of the node."""
PARAMETERS = {
    "input_transport": str,
    "model": str,
    "backend": str,
    "camera_height": float,
    "base_frame": str,
    "use_sim_time": bool,
    "autostart": bool,
}
"""Arguments that are parameters of the node, and their types."""
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Makes glibc keep freed memory, which saves a process most of the time of a large message; see docs/benchmarks.md."""


def arguments() -> list:
    """Returns the declarations of the launch arguments."""
    share = FindPackageShare(PACKAGE)
    # Humble and Jazzy read the older name alone; a profile that the user has set under either name is kept.
    own_profile = EnvironmentVariable(
        "FASTDDS_DEFAULT_PROFILES_FILE",
        default_value=EnvironmentVariable(
            "FASTRTPS_DEFAULT_PROFILES_FILE",
            default_value=PathJoinSubstitution([share, "config", "fastdds_profile.xml"]),
        ),
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=CHOICES.get(name))
        for name, (default, description) in ARGUMENTS.items()
    ]
    profile = DeclareLaunchArgument(
        "fastdds_profile",
        default_value=own_profile,
        description="Fast DDS profile of this and every later process of the launch; its larger shared memory "
        "carries the images. It is set under both names that Fast DDS reads. `none` leaves Fast DDS as it is. "
        "Default: the one set in the environment, else the package's.",
    )
    return [*declared, profile]


def environment(context: LaunchContext) -> list:
    """Returns the actions that set what Fast DDS and glibc read, in this and every later process of the launch."""
    kept = [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=at)) for name, at in KEPT_MEMORY.items()
    ]
    if LaunchConfiguration("fastdds_profile").perform(context) in ("", "none"):
        return kept
    profile = existing_file(context, "fastdds_profile")
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    # Not beside the one of the working directory, such as the checkout's, which Fast DDS reads by itself.
    values = {"SKIP_DEFAULT_XML_FILE": "1", **dict.fromkeys(names, profile)}
    return kept + [SetEnvironmentVariable(name, value) for name, value in values.items()]


def perception_node(context: LaunchContext) -> list:
    """Returns the node, with those settings that were given."""
    given = {name: kind for name, kind in PARAMETERS.items() if LaunchConfiguration(name).perform(context)}
    overrides = {name: ParameterValue(value_of(context, name, kind), value_type=kind) for name, kind in given.items()}
    if cameras := LaunchConfiguration("cameras").perform(context):
        overrides["cameras"] = [name.strip() for name in cameras.split(",")]
    files = [existing_file(context, "params_file")] if LaunchConfiguration("params_file").perform(context) else []
    return [
        Node(
            package=PACKAGE,
            executable="perception_node",
            exec_name="perception_node",
            name="perception",
            namespace=LaunchConfiguration("namespace"),
            # An empty dictionary is no parameter source for launch_ros.
            parameters=[*files, *([overrides] if overrides else [])],
            remappings=remappings(context, overrides.get("cameras")),
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
            prefix=[LaunchConfiguration("launch-prefix", default=""), " ", die_with_launch()],
            on_exit=end_launch if value_of(context, "required", bool) else None,
        )
    ]


def remappings(context: LaunchContext, cameras: list | None) -> list:
    """Returns from where to where the node's inputs go; the odometry is that of all cameras."""
    topics = {f"~/input/{name}": LaunchConfiguration(name).perform(context) for name in INPUTS}
    if cameras is None:
        return list(topics.items())
    odometry = ("~/input/odometry", topics.pop("~/input/odometry"))
    pairs = [(own.removeprefix("~"), topic) for own, topic in topics.items() if topic != own]
    return [odometry, *((f"~/{name}{own}", f"/{name}/{topic.lstrip('/')}") for name in cameras for own, topic in pairs)]


def end_launch(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """Ends launch with a process that it is nothing without; only an error gives launch a status, 1."""
    if context.is_shutdown:
        return None
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with status {event.returncode}")
    return Shutdown(reason=f"{event.process_name} has ended")


def die_with_launch() -> str:
    """Returns the prefix that sends the node SIGTERM when launch itself is gone.

    On SIGTERM launch leaves without stopping its processes, which would go on and hold the GPU.
    """
    setpriv = shutil.which("setpriv")  # util-linux
    return f"{setpriv} --pdeathsig TERM" if setpriv else ""


def value_of(context: LaunchContext, argument: str, kind: type) -> bool | float | str:
    """Returns the value of ``argument``."""
    text = LaunchConfiguration(argument).perform(context)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise RuntimeError(f"{argument}:={text}: write true or false")
        return text.lower() == "true"
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            raise RuntimeError(f"{argument}:={text}: write a number such as 1.5")
        return number
    return text


def warn_of_misspelt(context: LaunchContext, names: list) -> list:
    """Returns warnings about arguments that nobody takes and whose name is much like one of ``names``."""
    pairs = {name: get_close_matches(name, names, n=1, cutoff=0.75) for name in context.launch_configurations}
    wrong = {name: close[0] for name, close in pairs.items() if close and name not in names}
    return [LogInfo(msg=f"[WARNING] no argument {name!r}; did you mean {right!r}?") for name, right in wrong.items()]


def existing_file(context: LaunchContext, argument: str) -> str:
    """Returns the path given as ``argument``; launch_ros starts a node without its file with a mere warning."""
    path = LaunchConfiguration(argument).perform(context)
    if not Path(path).is_file():
        raise RuntimeError(f"{argument}:={path}: no such file; give the path of an existing one")
    return path


def generate_launch_description() -> LaunchDescription:
    """Returns what ``ros2 launch`` starts."""
    declared = arguments()
    return LaunchDescription(
        [
            *declared,
            OpaqueFunction(function=warn_of_misspelt, args=[[argument.name for argument in declared]]),
            OpaqueFunction(function=environment),
            OpaqueFunction(function=perception_node),
        ]
    )
