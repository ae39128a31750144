# SPDX-License-Identifier: Apache-2.0
"""Distances of pixels and obstacles, and figures by distance bin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import render_drive
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES, DistanceBins, distance_map, ground_plane_depth
from densehybrid_ros.evaluation.pixel_accumulator import pixel_metrics

CAMERA = Camera(width=64, height=48, fx=50.0, fy=50.0, cx=32.0, cy=20.0, baseline=0.2, pitch=0.05, mount_height=1.2)


def test_ground_plane_is_nan_above_the_horizon_and_falls_below() -> None:
    depth = ground_plane_depth(CAMERA, 48)
    horizon = CAMERA.cy - CAMERA.fy * math.tan(CAMERA.pitch)
    assert np.all(np.isnan(depth[: math.ceil(horizon)]))
    assert np.all(np.diff(depth[math.ceil(horizon) + 1 :]) < 0)
    anomaly = np.zeros((48, 64), dtype=np.uint8)
    anomaly[22:40, 10] = 1
    assert np.all(distance_map(anomaly, CAMERA, None)[22:40, 10] == depth[39])  # where it stands


def test_obstacle_takes_the_median_of_its_valid_pixels() -> None:
    anomaly = np.zeros((48, 64), dtype=np.uint8)
    anomaly[30:33, 10:12] = anomaly[40, 40] = 1
    disparity = np.full((48, 64), 2.0, dtype=np.float32)
    disparity[30:33, 10:12] = [[1.0, 1.0], [1.0, 0.0], [8.0, 0.0]]
    disparity[40, 40] = 0
    distance = distance_map(anomaly, CAMERA, disparity)
    assert np.all(distance[30:33, 10:12] == 10.0)
    assert distance[0, 0] == 5.0
    assert math.isnan(distance[40, 40])


def test_touching_obstacles_are_told_apart_by_instances() -> None:
    anomaly = np.zeros((48, 64), dtype=np.uint8)
    anomaly[30:32, 10:14] = 1
    instances = np.zeros((48, 64), dtype=np.uint16)
    instances[30:32, 10:12], instances[30:32, 12:14] = 7, 300
    disparity = np.where(instances == 7, 1.0, 2.0).astype(np.float32)
    distance = distance_map(anomaly, CAMERA, disparity, instances)
    assert (distance[30, 10], distance[30, 13]) == (10.0, 5.0)
    assert distance_map(anomaly, CAMERA, disparity)[30, 10] == distance_map(anomaly, CAMERA, disparity)[30, 13]


def test_distances_of_rendered_obstacles_are_the_true_ones() -> None:
    frame = next(render_drive(3, 1, 512, 256))
    measured = distance_map(frame.anomaly, frame.camera, frame.disparity, frame.instances)
    ground = distance_map(frame.anomaly, frame.camera, None, frame.instances)
    for number in np.unique(frame.instances)[1:]:
        pixels = frame.instances == number
        if pixels.sum() < 30:
            continue
        truth = float(np.median(frame.depth[pixels]))
        assert np.unique(measured[pixels]) == pytest.approx(truth, rel=0.01)
        if truth < 20:  # a row is a tenth of the distance at 20 m in so small a picture
            assert np.unique(ground[pixels]) == pytest.approx(truth, rel=0.15)


def test_each_bin_has_its_own_obstacles_and_road() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 1, 255], np.uint8), 10_000, p=[0.8, 0.1, 0.1])
    distance = rng.uniform(0, 44, len(labels)).astype(np.float32)
    distance[rng.random(len(labels)) < 0.1] = np.nan
    scores = rng.standard_normal(len(labels)) + (labels == 1) * 20 / (1 + np.nan_to_num(distance))
    pixels = [torch.from_numpy(values) for values in (scores.astype(np.float32), labels, distance)]
    bins = DistanceBins(["s"], DEFAULT_EDGES)
    for part in (slice(None, None, 2), slice(1, None, 2)):
        bins.update({"s": pixels[0][part]}, pixels[1][part], pixels[2][part])
    found = bins.compute()["s"]
    for low, high, got in zip(DEFAULT_EDGES[:-1], DEFAULT_EDGES[1:], found, strict=True):
        chosen = (distance >= low) & (distance < high)
        expected = pixel_metrics(pixels[0][chosen], pixels[1][chosen])
        assert got == expected or (math.isnan(got.auroc) and math.isnan(expected.auroc))
    assert math.isnan(found[-1].average_precision)  # nothing lies beyond 44 m
    assert bins.unknown == int(((labels < 2) & np.isnan(distance)).sum())
