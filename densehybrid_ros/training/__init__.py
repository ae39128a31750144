"""Losses, mixed-content images, schedule and training loop."""
