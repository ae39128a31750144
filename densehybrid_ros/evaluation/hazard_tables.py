# SPDX-License-Identifier: Apache-2.0
"""The figures of alerts as tables and sentences."""

from __future__ import annotations

from densehybrid_ros.evaluation.hazard_figures import HazardFigures


def hazard_lines(figures: HazardFigures) -> list[str]:
    """Says how many alerts were raised, how many of them were false, and from where on each obstacle is alerted."""
    way = "" if figures.kilometres is None else f" and {figures.kilometres:.2f} km"
    lines = [f"alerts: {figures.raised} hazards raised in {figures.minutes:.2f} minutes{way}"]
    if figures.false_alarms is not None:
        rates = [f"{rate:.2f} a {unit}" for rate, unit in _rates(figures) if rate is not None]
        lines.append(f"false alarms: {figures.false_alarms}" + (f", {', '.join(rates)}" if rates else ""))
    if figures.first_alert:
        known = [
            f"#{name} " + ("never" if distance is None else f"at {distance:.1f} m")
            for name, distance in figures.first_alert.items()
        ]
        lines.append(f"first alerted: {', '.join(known)}")
    if figures.distance_error is not None and figures.within_two_sigma is not None:
        lines.append(
            f"alerted distances: median error {figures.distance_error:.2f} m, {100 * figures.within_two_sigma:.1f} % "
            "within twice the stated deviation"
        )
    lines += [f"named by the hazard stage in {count} frames: {text}" for text, count in figures.problems.items()]
    return lines


def _rates(figures: HazardFigures) -> list[tuple[float | None, str]]:
    return [(figures.false_alarms_per_minute, "minute"), (figures.false_alarms_per_kilometre, "kilometre")]


def hazard_bin_rows(figures: HazardFigures) -> tuple[list[str], list[list[str]]]:
    """Header and rows of obstacles found and missed by distance."""
    rows = [
        [f"{item.low:g} to {item.high:g}", str(item.obstacles), str(item.found), str(item.missed)]
        for item in figures.bins
    ]
    return ["distance [m]", "obstacles", "alerted", "missed"], rows


def speed_rows(figures: HazardFigures) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by speed: up to which one the alerts come in time to stop."""
    rows = [
        [
            f"{item.speed:g}",
            f"{item.stopping_distance:.1f}",
            str(item.obstacles),
            str(item.in_time),
            "-" if item.worst_margin is None else f"{item.worst_margin:+.1f}",
        ]
        for item in figures.speeds
    ]
    return ["speed [km/h]", "stopping distance [m]", "obstacles in sight", "alerted in time", "worst margin [m]"], rows
