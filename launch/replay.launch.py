# SPDX-License-Identifier: Apache-2.0
"""A recording through the node: ``ros2 launch densehybrid_ros replay.launch.py bag:=DIR image:=/camera/image_raw``.

The other arguments are those of perception.launch.py. The player starts when the node is active. Launch ends with the
recording; with a viewer it waits for Ctrl-C.
"""

import runpy
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).parent
PERCEPTION = runpy.run_path(str(HERE / "perception.launch.py"))
VIEWERS = ("rviz", "foxglove")


def player(context: LaunchContext) -> list:
    """Returns the player, which waits for the node."""
    bag = LaunchConfiguration("bag").perform(context)
    if not Path(bag).exists():
        raise RuntimeError(f"bag:={bag}: no such recording; give the path of an existing one")
    viewed = any(PERCEPTION["value_of"](context, name, bool) for name in VIEWERS)

    def ended(event, context):
        return None if viewed and event.returncode == 0 else PERCEPTION["end_launch"](event, context)

    play = ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock"], name="player", output="screen", on_exit=ended)
    waiting = [play]

    def node_says(event: ProcessIO) -> ExecuteProcess | None:
        return waiting.pop() if waiting and b"]: active: " in event.text else None

    return [RegisterEventHandler(OnProcessIO(on_stdout=node_says, on_stderr=node_says))]


def viewers(context: LaunchContext) -> list:
    """Returns the viewers that were asked for, with their layouts."""
    config = HERE.parent / "config"
    common = {"parameters": [{"use_sim_time": True}], "output": "screen"}
    actions = {
        "rviz": [
            Node(package="rviz2", executable="rviz2", arguments=["-d", str(config / "rviz/perception.rviz")], **common)
        ],
        "foxglove": [
            Node(package="foxglove_bridge", executable="foxglove_bridge", **common),
            LogInfo(msg=f"Foxglove: open ws://localhost:8765, import the layout {config / 'foxglove/perception.json'}"),
        ],
    }
    return [action for name in VIEWERS if PERCEPTION["value_of"](context, name, bool) for action in actions[name]]


def generate_launch_description() -> LaunchDescription:
    """Returns what ``ros2 launch`` starts."""
    declared = [
        DeclareLaunchArgument("bag", description="Recording, a folder or file that `ros2 bag play` takes."),
        DeclareLaunchArgument("rviz", default_value="false", description="true or false: show it in RViz."),
        DeclareLaunchArgument("foxglove", default_value="false", description="true or false: start foxglove_bridge."),
    ]
    return LaunchDescription(
        [
            *declared,
            OpaqueFunction(function=PERCEPTION["warn_of_misspelt"], args=[[argument.name for argument in declared]]),
            OpaqueFunction(function=player),
            OpaqueFunction(function=viewers),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / "perception.launch.py")),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )
