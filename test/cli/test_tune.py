# SPDX-License-Identifier: Apache-2.0
"""``densehybrid tune``: figures as ``replay``'s, what it proposes, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rendered_bag import write_drive

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.perception.parameter_files import read_settings

PARAMETERS = ("-p", "min_hazard_area:=8", "-p", "trigger_count:=1", "-p", "anomaly_threshold:=3.25")
COMMON = (*PARAMETERS, "--device", "cpu", "-p", "backend:=eager")
SWEPT = ("--thresholds", "-2,20,24", "--min-hazard-areas", "40", "--trigger-counts", "3")


def _drive(path: Path, frames: int, **changes: Any) -> Path:
    """A rendered drive with a gaudy bonnet, which is not judged."""
    bonnet = np.random.default_rng(0).integers(0, 255, (7, 15, 3), np.uint8).repeat(4, 0).repeat(6, 1)

    def with_bonnet(frame: BagFrame) -> BagFrame:
        image, labels = frame.image.copy(), np.array(frame.labels)
        image[100:, 60:150], labels[100:, 60:150] = bonnet, 255
        return replace(frame, image=image, labels=labels)

    return write_drive(path, frames, seed=4, change=with_bonnet, **changes)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _drive(tmp_path_factory.mktemp("bag") / "drive", 11)


@pytest.fixture(scope="module")
def tuned(drive: Path) -> Path:
    """A folder with page, mask and figures of the drive."""
    folder = drive.parent / "tuned"
    words = ("tune", drive, "--output", folder, "--json", folder / "tune.json", *COMMON, *SWEPT)
    assert main([str(word) for word in words]) == 0
    return folder


def _replayed(drive: Path, folder: Path, *options: object) -> dict[str, Any]:
    words = ("replay", drive, "--json", folder / "replay.json", *COMMON, *options)
    assert main([str(word) for word in words]) == 0
    content: dict[str, Any] = json.loads((folder / "replay.json").read_text())
    return content


def _rows(folder: Path) -> dict[tuple, dict[str, Any]]:
    rows = json.loads((folder / "tune.json").read_text())["settings"]
    keys = ("threshold", "min_hazard_area", "trigger_count", "ego_mask")
    return {tuple(row[key] for key in keys): row for row in rows}


def test_figures_are_those_of_a_replay(tuned: Path, drive: Path, tmp_path: Path) -> None:
    rows = _rows(tuned)
    for threshold, area, trigger, masked in (
        (20, 8, 1, False),
        (20, 8, 1, True),
        (-2, 40, 1, False),
        (24, 8, 3, False),
    ):
        given = ("--threshold", threshold, "-p", f"min_hazard_area:={area}", "-p", f"trigger_count:={trigger}")
        mask = ("-p", f"ego_mask:={tuned / 'ego_mask.png'}") if masked else ()
        figures = _replayed(drive, tmp_path, *given, *mask)["hazards"]
        row = rows[threshold, area, trigger, masked]
        assert row["hazards"] == figures["raised"]
        for key in ("false_alarms", "alerted_frames", "precision", "recall", "obstacles_found"):
            assert row[key] == figures[key]
        first = [metres for metres in figures["first_alert"].values() if metres is not None]
        assert row["first_alert_m"] == (np.median(first) if first else None)
    assert rows[20, 8, 1, True]["hazards"] < rows[20, 8, 1, False]["hazards"]
    assert len({row["hazards"] for row in rows.values()}) > 1


def test_labels_propose_the_best_f1_and_the_bonnet_an_ego_mask(tuned: Path) -> None:
    rows, content = _rows(tuned), json.loads((tuned / "tune.json").read_text())
    assert {key[:3] for key in rows} == {(t, a, c) for t in (-2, 3.25, 20, 24) for a in (8, 40) for c in (1, 3)}
    column = {key[0]: row["f1"] or 0.0 for key, row in rows.items() if key[1:] == (8, 1, False)}
    assert content["proposal"]["by"] == "labels"
    assert column[content["proposal"]["threshold"]] == max(column.values()) > 0
    mask = cv2.imread(str(tuned / "ego_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (128, 256)
    assert mask[104:, 64:146].mean() > 0.8 * 255
    assert not mask[:80].any()
    text = (tuned / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'\\]+", text)) == {"http://www.w3.org/2000/svg"}, "it needs no network"
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert sorted(path.name for path in tuned.iterdir()) == ["ego_mask.png", "index.html", "tune.json"]


def test_a_clean_drive_proposes_the_threshold_of_the_wanted_rate(tmp_path: Path, capsys) -> None:
    clean = _drive(tmp_path / "clean", 3, labels=None, instances=None, semantic=None)
    words = ("tune", clean, "--output", tmp_path / "clean.html", "--json", tmp_path / "tune.json", *COMMON)
    wanted = ("--clean", "--false-alarms-per-minute", 250, "--every", 2)
    assert main([str(word) for word in (*words, *wanted)]) == 0
    rows, content = _rows(tmp_path), json.loads((tmp_path / "tune.json").read_text())
    proposal = content["proposal"]["threshold"]
    rates = {key[0]: row["false_alarms_per_minute"] for key, row in rows.items() if key[1:] == (8, 1, False)}
    assert all(rate <= 250 for value, rate in rates.items() if value >= proposal)
    assert max(value for value, rate in rates.items() if rate > 250) < proposal
    assert min(value for value in rates if value >= proposal) == proposal
    assert all(row["hazards"] == row["false_alarms"] for row in rows.values())
    printed = capsys.readouterr().out
    assert f"proposal: {proposal:g}, the lowest threshold of at most 250 false alarms a minute" in printed
    assert f"page: {tmp_path / 'clean.html'}" in printed


def test_a_labelled_set_is_one_of_single_pictures(tmp_path: Path, capsys) -> None:
    for number, frame in enumerate(RenderedFrames(3, 2, (256, 128), 10.0)):
        write_picture(tmp_path / "set" / "image" / f"{number}.png", frame.image)
        write_picture(tmp_path / "set" / "label" / f"{number}.png", frame.labels)
    words = ("tune", tmp_path / "set", "--output", tmp_path, "--json", tmp_path / "tune.json", *COMMON, *SWEPT)
    assert main([str(word) for word in words]) == 0
    assert "proposal: " in capsys.readouterr().out
    assert {key[2] for key in _rows(tmp_path)} == {1}
    assert '"areSingle":true' in (tmp_path / "index.html").read_text()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium without a window; its downloads go to ``tmp_path``."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    yield opened
    opened.quit()


def _waited(condition: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return value


def test_the_page_in_a_browser_shows_the_figures_of_replay(tuned: Path, drive: Path, tmp_path: Path, browser) -> None:
    browser.get((tuned / "index.html").as_uri())
    assert _waited(lambda: browser.execute_script("return document.body.dataset.ready")) == "yes"

    def find(name: str) -> Any:
        return browser.find_element("id", name)

    def slide(index: int) -> None:
        script = "const s = arguments[0]; s.value = arguments[1]; s.dispatchEvent(new Event('input'));"
        browser.execute_script(script, find("threshold"), index)

    def shown() -> tuple[str, str, str]:
        names = ("hazards", "false_alarms", "recall")
        return tuple(find(f"figure-{name}").text for name in names)  # type: ignore[return-value]

    def expected(figures: dict[str, Any]) -> tuple[str, str, str]:
        share = f"{100 * figures['recall']:.1f} %"
        return str(figures.get("raised", figures.get("hazards"))), str(figures["false_alarms"]), share

    slide(0)
    assert find("value").text == "\u22122"
    slide(2)
    assert find("value").text == "20"
    assert shown() == expected(_replayed(drive, tmp_path, "--threshold", "20")["hazards"])
    boxes = browser.execute_script("return [...Array(times.length).keys()].map((i) => hazardsAt(i).length)")
    timeline = json.loads((tmp_path / "replay.json").read_text())["hazards"]["timeline"]
    assert boxes == [moment["hazards"] for moment in timeline]
    assert find("command").text == "ros2 param set /perception anomaly_threshold -- 20.0"

    before = shown()
    find("mask").click()
    masked = ("-p", f"ego_mask:={tuned / 'ego_mask.png'}")
    assert shown() == expected(_replayed(drive, tmp_path, "--threshold", "20", *masked)["hazards"]) != before
    browser.execute_script("const a = $('minArea'); a.value = 1; a.dispatchEvent(new Event('change'));")
    assert shown() == expected(_rows(tuned)[20.0, 40, 1, True])

    find("save").click()
    file = tmp_path / "perception.param.yaml"
    assert _waited(file.is_file)
    settings = read_settings(file)
    assert (settings.anomaly_threshold, settings.min_hazard_area, settings.trigger_count) == (20.0, 40, 1)
    assert (settings.ego_mask, settings.device) == (str(tuned / "ego_mask.png"), "cpu")
    find("saveMask").click()
    assert _waited((tmp_path / "ego_mask.png").is_file)
    assert (tmp_path / "ego_mask.png").read_bytes()[:4] == b"\x89PNG"

    find("next").click()
    assert find("where").text.startswith(f"{browser.execute_script('return current') + 1} of 11")
    for width in (390, 1280, 3840):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
