# SPDX-License-Identifier: Apache-2.0
"""Recordings of all kinds, whole and damaged, as one stream of messages."""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
from hand_made import (
    IMAGE_TOPIC,
    LABELS_TOPIC,
    MAGIC,
    PICTURE,
    STEP,
    TIME,
    channel,
    chunk,
    drive,
    mcap,
    mcap_records,
    message,
    picture,
    ros1_picture,
    schema,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.folder import find_bags
from densehybrid_ros.bags.record_files import zstd
from densehybrid_ros.bags.storage import Storage, open_storage
from densehybrid_ros.bags.writer import RawBagWriter, qos_profile
from densehybrid_ros.errors import InputError


def pictures(storage: Storage) -> list[int]:
    """The numbers that the pictures tell, after checking that they are whole."""
    numbers = []
    for raw in storage.messages([IMAGE_TOPIC]):
        pixels = raw.message.data.reshape(PICTURE.shape)
        numbers.append(int(pixels[0, 0, 0]))
        np.testing.assert_array_equal(pixels, PICTURE + np.uint8(numbers[-1]))
    return numbers


def write_bag(path: Path, count: int = 5, storage: str = "mcap") -> Path:
    with RawBagWriter(path, storage) as writer:
        writer.add_topic(IMAGE_TOPIC, messages.IMAGE)
        writer.add_topic(LABELS_TOPIC, messages.IMAGE, qos_profile(latched=True))
        for topic, time, item in drive(count):
            writer.write_raw(topic, time, messages.serialize(item))
    return path


def write_file(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def the_file(bag: Path) -> Path:
    (file,) = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    return file


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_topics_counts_and_qos_of_a_usual_bag(tmp_path: Path, storage: str) -> None:
    opened = open_storage(write_bag(tmp_path / "drive", storage=storage))
    assert pictures(opened) == [0, 1, 2, 3, 4]
    topics = {name: (topic.kind, topic.count, topic.latched) for name, topic in opened.topics.items()}
    assert topics == {IMAGE_TOPIC: (messages.IMAGE, 5, False), LABELS_TOPIC: (messages.IMAGE, 5, True)}
    assert opened.promised == {IMAGE_TOPIC: 5, LABELS_TOPIC: 5}
    assert opened.damage == []
    opened = open_storage(tmp_path / "drive", {LABELS_TOPIC: messages.IMAGE})
    found = opened.find(LABELS_TOPIC, TIME + 3 * STEP)
    assert found is not None
    assert found.message.data[0] == 3
    assert opened.find(LABELS_TOPIC, 7) is opened.find("/absent", 7) is None


@pytest.mark.parametrize("compression", ["none", "", "zstd", "lz4", "in one file"])
def test_an_mcap_file_is_read_up_to_any_cut(tmp_path: Path, compression: str) -> None:
    records = mcap_records(drive(4))
    if compression != "none":
        pack = {"zstd": zstd.compress, "lz4": lz4.frame.compress}.get(compression)
        step = len(records) if compression == "in one file" else 3
        groups = [b"".join(records[start : start + step]) for start in range(0, len(records), step)]
        records = [chunk(group, compression, pack(group)) if pack else chunk(group) for group in groups]
    whole = mcap(records)
    found = []
    for kept in [*range(0, len(whole), 97), len(whole)]:
        storage = open_storage(write_file(tmp_path / "cut.mcap", whole[:kept]))
        found.append(pictures(storage))
        assert storage.damage or kept > len(whole) - 70, kept
    assert found[-1] == [0, 1, 2, 3]
    assert all(numbers == list(range(len(numbers))) for numbers in found)
    lengths = [len(numbers) for numbers in found]
    assert lengths == sorted(lengths)
    if compression in ("none", "", "in one file"):
        assert set(lengths) == {0, 1, 2, 3, 4}


def test_a_damaged_chunk_costs_itself_alone(tmp_path: Path) -> None:
    kind, topic, *sent = mcap_records(drive(3, labelled=False))
    broken = chunk(sent[1], "zstd", zstd.compress(sent[1])[:20] + bytes(50))
    storage = open_storage(write_file(tmp_path / "a.mcap", mcap([kind, topic, chunk(sent[0]), broken, chunk(sent[2])])))
    assert pictures(storage) == [0, 2]
    assert storage.damage[0].startswith("a.mcap: zstd data ")


def test_a_flipped_byte_in_a_chunk_is_named(tmp_path: Path) -> None:
    records = b"".join(mcap_records(drive(1, labelled=False)))
    content = bytearray(mcap([chunk(records, checksum=zlib.crc32(records))]))
    assert open_storage(write_file(tmp_path / "a.mcap", bytes(content))).damage == []
    content[content.rindex(PICTURE.tobytes()) + 5] ^= 1
    storage = open_storage(write_file(tmp_path / "a.mcap", bytes(content)))
    assert len(list(storage.messages([IMAGE_TOPIC]))) == 1
    assert "holds a chunk whose checksum disagrees at byte" in storage.damage[0]


def test_channels_of_all_kinds_stand_side_by_side(tmp_path: Path) -> None:
    def cdr(number: int) -> bytes:
        return bytes(messages.serialize(picture(number, TIME)))

    records = [
        channel(1, "/late/schema", 1),
        message(1, 1, cdr(1)),
        schema(1, messages.IMAGE),
        schema(1, messages.IMAGE),
        channel(1, "/late/schema", 1),
        channel(2, "/none", 99),
        message(2, 2, cdr(2)),
        channel(3, "/text", 0, "json"),
        message(3, 3, b"{}"),
        schema(4, "sensor_msgs/Image"),
        channel(4, "/ros1", 4, "ros1"),
        message(4, 4, ros1_picture(4, TIME)),
        message(4, 5, b"too short"),
        message(77, 6, b"of no channel"),
        bytes([0x99]) + (3).to_bytes(8, "little") + b"own",
    ]
    storage = open_storage(write_file(tmp_path / "mixed.mcap", mcap(records)), {"/none": messages.IMAGE})
    assert storage.damage == []
    assert storage.topics["/text"].problem == "stored as json"
    assert {name: topic.kind for name, topic in storage.topics.items() if topic.count} == {
        "/late/schema": messages.IMAGE,
        "/none": messages.IMAGE,
        "/ros1": messages.IMAGE,
    }
    *whole, short = storage.messages()
    assert [int(raw.message.data[0]) for raw in whole] == [1, 2, 4]
    assert whole[2].stamp == TIME
    with pytest.raises(InputError, match=r"/ros1 at 0 ns, recorded at 5 ns: 0 bytes are no sensor_msgs/msg/Image"):
        _ = short.message


@pytest.mark.parametrize("compression", [None, Writer1.CompressionFormat.BZ2, Writer1.CompressionFormat.LZ4])
def test_ros_1_bags_become_ros_2_messages(tmp_path: Path, compression: Writer1.CompressionFormat | None) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    writer = Writer1(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        connection = writer.add_connection(IMAGE_TOPIC, messages.IMAGE, typestore=store, latching=1)
        for number in range(3):
            writer.write(connection, TIME + number, ros1_picture(number, TIME + number))
    storage = open_storage(path, {IMAGE_TOPIC: messages.IMAGE})
    assert pictures(storage) == [0, 1, 2]
    assert storage.topics[IMAGE_TOPIC].latched
    assert storage.damage == []
    assert [raw.stamp for raw in storage.messages()] == [raw.time for raw in storage.messages()]
    assert storage.read(IMAGE_TOPIC, 1).message.header.frame_id == "left"

    path.write_bytes(path.read_bytes()[:-20])
    assert open_storage(path).damage == ["old.bag: ends in the middle"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("mode", ["MESSAGE", "FILE"])
def test_zstd_of_rosbag2(tmp_path: Path, storage: str, mode: str) -> None:
    if (storage, mode) == ("mcap", "MESSAGE"):
        items = [
            message(1, time, zstd.compress(bytes(messages.serialize(item))))
            for _, time, item in drive(3, labelled=False)
        ]
        records = [schema(1, messages.IMAGE), channel(1, IMAGE_TOPIC, 1), *items]
        bag = write_file(tmp_path / "drive" / "drive_0.mcap", mcap(records)).parent
    else:
        bag = tmp_path / "drive"
        writer = Writer(bag, version=8, storage_plugin=StoragePlugin[storage.upper()])
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        with writer:
            connection = writer.add_connection(IMAGE_TOPIC, messages.IMAGE, typestore=messages.typestore())
            for _, time, item in drive(3, labelled=False):
                writer.write(connection, time, messages.serialize(item))
    before = sorted(bag.iterdir())
    opened = open_storage(bag, {IMAGE_TOPIC: messages.IMAGE})
    assert pictures(opened) == pictures(open_storage(the_file(bag))) == [0, 1, 2]
    assert opened.read(IMAGE_TOPIC, 2).stamp == TIME + 2 * STEP
    assert sorted(bag.iterdir()) == before
    assert find_bags(bag) == [bag]


def test_a_packed_file_that_is_cut_and_its_unpacked_twin(tmp_path: Path) -> None:
    whole = mcap(mcap_records(drive(4)))
    rng = np.random.default_rng(0)
    packed = zstd.compress(whole + rng.bytes(900_000))
    storage = open_storage(write_file(tmp_path / "a.mcap.zstd", packed[: len(packed) // 2]))
    assert pictures(storage) == [0, 1, 2, 3]
    assert storage.damage == ["a.mcap.zstd: ends in the middle"]
    write_file(tmp_path / "a.mcap", whole)
    assert pictures(open_storage(tmp_path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_a_killed_recorder_left_in_a_journal(tmp_path: Path, journal: str) -> None:
    whole, killed = the_file(write_bag(tmp_path / "whole", storage="sqlite3")), tmp_path / "killed"
    (tmp_path / "running").mkdir()
    source, running = sqlite3.connect(whole), sqlite3.connect(tmp_path / "running" / "killed_0.db3")
    running.execute(f"PRAGMA journal_mode={journal}")
    running.execute("PRAGMA wal_autocheckpoint=0")
    running.execute("PRAGMA cache_size=1")  # so that the journal is not empty
    for name, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        running.execute(sql)
        for row in source.execute(f"SELECT * FROM {name}"):
            running.execute(f"INSERT INTO {name} VALUES ({','.join('?' * len(row))})", row)
    running.commit()
    if journal == "delete":
        running.execute("DELETE FROM messages")  # never committed
    shutil.copytree(tmp_path / "running", killed)
    before = {file.name: file.read_bytes() for file in killed.iterdir()}
    assert len(before) > 1

    storage = open_storage(killed)

    assert pictures(storage) == [0, 1, 2, 3, 4]
    assert {file.name: file.read_bytes() for file in killed.iterdir()} == before
    assert find_bags(killed) == [killed]


def test_a_cut_sqlite_file_is_read_up_to_its_damage(tmp_path: Path) -> None:
    file = the_file(write_bag(tmp_path / "drive", 200, "sqlite3"))
    whole = file.read_bytes()
    counts = []
    for tenth in range(11):
        file.write_bytes(whole[: len(whole) * tenth // 10])
        storage = open_storage(tmp_path / "drive", {IMAGE_TOPIC: messages.IMAGE})
        numbers = pictures(storage)
        assert numbers == list(range(len(numbers)))
        assert storage.damage or tenth == 10
        counts.append(len(numbers))
    assert counts[0] == 0
    assert 80 < counts[5] < 120
    assert counts[10] == 200


HOSTILE = {
    "view": "CREATE VIEW messages AS SELECT 1 AS id, 1 AS topic_id, 1 AS timestamp, hex(randomblob(9)) AS data",
    "virtual table": "CREATE VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data)",
    "generated column": "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, "
    "data BLOB AS (upper('evil')))",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_schema_runs_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "evil.db3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
        database.execute("INSERT INTO topics VALUES (1, ?, ?, 'cdr')", (IMAGE_TOPIC, messages.IMAGE))
        database.execute(HOSTILE[kind])
        if kind == "generated column":
            database.execute("INSERT INTO messages(topic_id, timestamp) VALUES (1, 1)")
    database.close()
    storage = open_storage(path)
    assert list(storage.messages()) == []
    assert storage.damage[0].startswith("evil.db3: can't be read on (")


def test_triggers_and_foreign_tables_do_not_matter(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", storage="sqlite3")
    with sqlite3.connect(the_file(bag)) as database:
        database.execute("CREATE TABLE victim(a)")
        database.execute("CREATE TRIGGER evil AFTER INSERT ON topics BEGIN DELETE FROM messages; END")
        database.execute("CREATE VIEW nosy AS SELECT * FROM victim")
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, 'never', x'00')")
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE victim(a); DROP TABLE x' WHERE name = 'victim'")
    database.close()
    assert pictures(open_storage(bag)) == [0, 1, 2, 3, 4]


def test_parts_are_read_in_the_order_of_the_list_else_in_natural_order(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    for number, part in enumerate((0, 2, 10)):
        items = [(IMAGE_TOPIC, TIME + k, picture(10 * number + k, TIME + k)) for k in range(2)]
        write_file(bag / f"drive_{part}.mcap", mcap(mcap_records(items)))
    assert pictures(open_storage(bag)) == [0, 1, 10, 11, 20, 21]
    assert find_bags(bag) == find_bags(tmp_path) == [bag]

    def list_files(*names: str) -> None:
        content = {"rosbag2_bagfile_information": {"relative_file_paths": list(names)}}
        (bag / "metadata.yaml").write_text(yaml.safe_dump(content))

    list_files("drive_10.mcap", "drive/drive_0.mcap", "drive_2.mcap")
    assert pictures(open_storage(bag)) == [20, 21, 0, 1, 10, 11]
    list_files("drive_10.mcap", "drive_7.mcap")
    storage = open_storage(bag)
    assert pictures(storage) == [0, 1, 10, 11, 20, 21]
    assert storage.damage == ["drive_7.mcap: metadata.yaml lists it, but it is not there"]
    whole = (bag / "drive_2.mcap").read_bytes()
    (bag / "drive_2.mcap").write_bytes(whole[: len(whole) * 6 // 10])
    assert pictures(open_storage(bag)) == [0, 1, 10, 20, 21]


def test_metadata_is_a_hint(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive")
    malformed = "rosbag2_bagfile_information: {topics_with_message_count: 7}"
    for text in ("", "rosbag2_bagfile_information: {version: 8", "[1]", malformed):
        (bag / "metadata.yaml").write_text(text)
        storage = open_storage(bag)
        assert pictures(storage) == [0, 1, 2, 3, 4]
        assert (storage.damage, storage.promised) == ([], {})


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_edited_metadata_does_not_change_what_is_there(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "drive", storage=storage)
    content = yaml.safe_load((bag / "metadata.yaml").read_text())
    for topic in content["rosbag2_bagfile_information"]["topics_with_message_count"]:
        qos = [{"reliability": "best_effort", "durability": "transient_local"}]
        topic["topic_metadata"] |= {"offered_qos_profiles": qos, "type": "std_msgs/msg/String"}
        topic["message_count"] = 99
    (bag / "metadata.yaml").write_text(yaml.safe_dump(content))
    opened = open_storage(bag)
    assert pictures(opened) == [0, 1, 2, 3, 4]
    assert opened.topics[IMAGE_TOPIC].latched
    assert opened.promised[IMAGE_TOPIC] == 99


def test_a_folder_of_bags(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").touch()
    write_file(tmp_path / "a.mcap.zstd", b"")
    write_file(tmp_path / "b.MCAP", MAGIC)
    write_file(tmp_path / "c.bag", b"")
    killed = write_file(tmp_path / "d" / "d_0.db3", b"").parent
    assert [bag.name for bag in find_bags(tmp_path)] == ["a.mcap.zstd", "b.MCAP", "c.bag", "d"]
    assert find_bags(killed) == [killed]
    assert find_bags(tmp_path / "pictures") == [tmp_path / "pictures"]
