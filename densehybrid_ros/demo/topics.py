# SPDX-License-Identifier: Apache-2.0
"""Topics of the demonstration's graph."""

from __future__ import annotations

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
