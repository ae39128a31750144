"""Topics of the demonstration's graph."""

from __future__ import annotations

from densehybrid_ros.bags.topics import BagTopics

IMAGE_TOPIC = BagTopics().image
ALERT_TOPIC = "/perception/output/hazard_alert"
SEMANTIC_TOPIC = "/perception/output/semantic"
SCORE_TOPIC = "/perception/output/anomaly_score"
OPEN_SET_TOPIC = "/perception/output/open_set"
OVERLAY_TOPIC = "/perception/output/overlay"
PICTURE_TOPICS = (SEMANTIC_TOPIC, SCORE_TOPIC, OPEN_SET_TOPIC, OVERLAY_TOPIC)
MARKERS_TOPIC = "/perception/output/hazard_markers"
DIAGNOSTICS_TOPIC = "/diagnostics"
