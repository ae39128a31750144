# SPDX-License-Identifier: Apache-2.0
"""How processes of this project reach each other: topics, DDS profile, a domain of their own, and tidying up.

ROS is not imported here: the environment has to be set before it is.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from densehybrid_ros.resources import resource_path
from densehybrid_ros.shared_memory import fast_dds_files, files_in_use

NODE_NAME = "perception"
ALERT_TOPIC = f"/{NODE_NAME}/output/hazard_alert"
SEMANTIC_TOPIC = f"/{NODE_NAME}/output/semantic"
SCORE_TOPIC = f"/{NODE_NAME}/output/anomaly_score"
OPEN_SET_TOPIC = f"/{NODE_NAME}/output/open_set"
OVERLAY_TOPIC = f"/{NODE_NAME}/output/overlay"
PICTURE_TOPICS = (SEMANTIC_TOPIC, SCORE_TOPIC, OPEN_SET_TOPIC, OVERLAY_TOPIC)
ANSWER_TOPICS = (ALERT_TOPIC, *PICTURE_TOPICS)
"""What the node says about every frame."""
MARKERS_TOPIC = f"/{NODE_NAME}/output/hazard_markers"
DIAGNOSTICS_TOPIC = "/diagnostics"

_DOMAINS = range(1, 102)  # larger ones reach into the ports that Linux hands out to clients
_FIRST_PORT, _PORTS_A_DOMAIN = 7400, 250  # of DDS, RTPS specification 9.6.1.1
_UNUSED_PORT = 9  # within a domain's range; participants count up from 10 and 11
_SECONDS_BETWEEN_LOOKS = 0.1


def profile_environment() -> dict[str, str]:
    """Returns the variables that make Fast DDS read the project's profile; a process reads it once.

    Raises:
        InputError: The profile is not installed.
    """
    profile = str(resource_path("config/fastdds_profile.xml"))
    # Fast DDS 2 reads the first name, Fast DDS 3 the second.
    names = {"FASTRTPS_DEFAULT_PROFILES_FILE": profile, "FASTDDS_DEFAULT_PROFILES_FILE": profile}
    # The profile of the working directory is not read beside it: in a checkout that is the same file once more.
    return {**names, "SKIP_DEFAULT_XML_FILE": "1"}


def transport_environment(domain_id: int | None = None) -> dict[str, str]:
    """Returns an environment for child processes that exchange images on this machine, in a ROS domain or in ours.

    Raises:
        InputError: The DDS profile is not installed.
    """
    environment = {**os.environ, **profile_environment()}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if domain_id is not None:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    return environment


@contextmanager
def private_domain() -> Iterator[int]:
    """Yields a ROS domain id that no other process has claimed this way and in which nobody is.

    The claim is a bound port of the domain's range, so it ends with this process, however that ends.

    Raises:
        OSError: All domains are taken.
    """
    for domain_id in random.sample(_DOMAINS, len(_DOMAINS)):
        claim = _claim(domain_id)
        if claim is not None:
            with claim:
                yield domain_id
            return
    raise OSError("all ROS domains from 1 to 101 are taken on this machine")


def _claim(domain_id: int) -> socket.socket | None:
    base = _FIRST_PORT + _PORTS_A_DOMAIN * domain_id
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first_participant:
            first_participant.bind(("", base + 10))
        claim.bind(("127.0.0.1", base + _UNUSED_PORT))
    except OSError:
        claim.close()
        return None
    return claim


@contextmanager
def tidy_shared_memory() -> Iterator[None]:
    """Removes, at the end, the Fast DDS files that came up in /dev/shm meanwhile and that no process uses any more.

    Fast DDS leaves them behind when a process is killed.
    """
    before = set(fast_dds_files())
    try:
        yield
    finally:
        stale = set(fast_dds_files()) - before
        # Twice, because a process that starts at this moment makes a file shortly before it uses it.
        for _ in range(2):
            if stale:
                stale -= files_in_use()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        for path in stale:
            path.unlink(missing_ok=True)
