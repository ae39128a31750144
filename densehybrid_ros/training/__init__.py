# SPDX-License-Identifier: Apache-2.0
"""Losses, mixed-content images, schedule and training loop."""
