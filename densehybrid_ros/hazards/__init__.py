"""From anomalous pixels to hazards."""
