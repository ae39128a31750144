"""Open-set perception for ROS 2 with the DenseHybrid anomaly detector (Grcić & Šegvić)."""

__version__ = "0.1.0"
