# SPDX-License-Identifier: Apache-2.0
"""The groups of the fault campaign that need the real node in a process of its own; ``faults.py`` runs it."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from stereo_msgs.msg import DisparityImage

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.settings import PARAMETERS
from densehybrid_ros.progress import progress
from fault_files import damaged_model
from fault_messages import Damaged, compressed_image, good_frame, raw_image, side_message, stamp_of
from fault_tally import FALLS, Plan, Tally, timed
from ros_child import answer

_NAME = "/perception"
_KINDS = {"raw": Image, "compressed": CompressedImage}
_SIDE = {"camera_info": CameraInfo, "disparity": DisparityImage, "odometry": Odometry}
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_MEMORY = 6 << 30  # bytes of the node: a picture that takes more must not take the machine
_BATCH = 10  # damaged messages between two good frames
_PAUSE = (0.002, 0.02)  # seconds between two damaged messages, in which most are looked at and not overtaken
_GLANCE = 0.2  # seconds for the answer to what may be answered or not
_PATIENCE = 20.0  # seconds for the answer to a frame or a call
_LONG = 120.0  # seconds for the first answer
_STALE = 3
_STAMP = slice(4, 12)  # of the bytes of a message that begins with a header
_COUNTERS = ("processed", "dropped", "dropped_before_arrival", "rejected", "failed")


class Bench:
    """The node process, and the other side of its topics and services."""

    def __init__(self, node: Node, threads: int) -> None:
        self._node, self._threads = node, threads
        self._log = Path(tempfile.mkstemp(prefix="faults_", suffix=".log")[1])
        self._process: NodeProcess | None = None
        self._transport = ""
        self._seen = 0
        self._answered = threading.Condition()
        self._answers: dict[tuple[int, int], int] = {}
        self._strange = ""
        self._reports = 0
        self.diagnostics: dict[str, str] = {}
        self.number = self.sent = 0
        self.cases: dict[int, Damaged | str] = {}
        self._frames = {name: node.create_publisher(kind, f"/faults/{name}", _QOS) for name, kind in _KINDS.items()}
        self._beside = {name: node.create_publisher(kind, f"/faults/{name}", _QOS) for name, kind in _SIDE.items()}
        node.create_subscription(DiagnosticArray, f"{_NAME}/output/hazard_alert", self._note_alert, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._note_diagnostics, 10)
        # All outputs are asked for, so that all are filled.
        for name, kind in (("semantic", Image), ("anomaly_score", Image), ("confidence", Image), ("overlay", Image)):
            node.create_subscription(kind, f"{_NAME}/output/{name}", lambda _: None, 1, raw=True)

    def close(self) -> None:
        """Ends the node process."""
        if self._process is not None:
            self._process.stop()
        self._process = None
        self._log.unlink(missing_ok=True)

    @property
    def process_id(self) -> int:
        """Of the node."""
        assert self._process is not None
        return self._process.process.pid

    def open(self, transport: str = "raw", **parameters: Any) -> None:
        """Starts the node for a transport, unless it runs already, and waits for its answer to a good frame.

        Raises:
            InputError: It does not become active or does not answer.
        """
        if self._process is not None and self._transport == transport and self._process.process.poll() is None:
            return
        if self._process is not None:
            self._process.stop()
        given: dict[str, Any] = {
            "input_transport": transport,
            "input_reliability": "reliable",
            "model": "light",
            "device": "cpu",
        }
        given |= {"backend": "eager", "camera_height": 1.4} | parameters
        targets = {"~/input/image": f"/faults/{transport}"}
        targets |= {f"~/input/{name}": f"/faults/{name}" for name in _SIDE}
        environment = os.environ | {"OMP_NUM_THREADS": str(self._threads)}
        self._seen, self._transport = 0, transport
        self._process = NodeProcess(given, targets, environment, log=self._log)
        self._process.wait_until_active(_LONG)
        resource.prlimit(self.process_id, resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        for publisher in (self._frames[transport], *self._beside.values()):
            if not wait_until(partial(_is_heard, publisher), _LONG):
                raise InputError(f"the node does not subscribe to {publisher.topic_name}")
        end = time.monotonic() + _LONG
        while self.good_frame(2.0) is None:
            if time.monotonic() > end:
                raise InputError("the node does not answer a good frame")
        self.settle()

    def restart(self) -> None:
        """Ends the node process and starts another."""
        if self._process is not None:
            self._process.stop()
        self.open(self._transport)

    def send(self, damaged: Damaged) -> None:
        """Sends a damaged message."""
        publisher = self._beside[damaged.topic] if damaged.topic else self._frames[self._transport]
        publisher.publish(damaged.data)
        self.sent += not damaged.topic

    def next_number(self, case: Damaged | str = "") -> int:
        """Returns the number of the next message."""
        self.number += 1
        self.cases[self.number] = case
        return self.number

    def good_frame(self, patience: float = _PATIENCE) -> float | None:
        """Sends a good frame; returns the seconds until its answer, None where none comes."""
        number = self.next_number("good")
        began = time.monotonic()
        self._frames[self._transport].publish(good_frame(number, self._transport))
        self.sent += 1
        return time.monotonic() - began if self.wait_for(number, patience) else None

    def wait_for(self, number: int, patience: float) -> bool:
        """Waits for the answer to a frame."""
        key = stamp_of(number)
        with self._answered:
            return self._answered.wait_for(lambda: key in self._answers, patience)

    def level_of(self, number: int) -> int | None:
        """Level of the alert that answered a frame; None where it was not answered."""
        return self._answers.get(stamp_of(number))

    def forget(self) -> None:
        """Forgets all answers."""
        with self._answered:
            self._answers.clear()
        self.cases.clear()

    def call(self, kind: type, name: str, request: Any, patience: float = _PATIENCE) -> Any:
        """Calls a service of the node; None where no answer comes in time."""
        client = self._client(kind, name)
        if not client.wait_for_service(patience):
            return None
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if done.wait(patience):
            return future.result()
        client.remove_pending_request(future)
        return None

    def _client(self, kind: type, name: str) -> Any:
        known = {client.srv_name: client for client in self._node.clients}
        path = f"{_NAME}/{name}"
        return known.get(path) or self._node.create_client(kind, path)

    def look(self, tally: Tally, note: str) -> None:
        """Counts what became of the node: whether it ended, and what its log says."""
        assert self._process is not None
        text = self._process.log()[self._seen :]
        whole = text.rfind("\n") + 1
        self._seen += whole
        for part in text[:whole].split("Traceback (most recent call last)")[1:]:
            lines = [line for line in part.splitlines() if line.strip()]
            said = next((line for line in lines[1:] if not line.startswith(" ")), lines[-1] if lines else "")
            tally.fell("tracebacks", f"{note}: {said}")
        for line in text[:whole].splitlines():
            if line.startswith("[ERROR]") and ": frame " not in line:
                said = line.partition("]: ")[2]
                errors = tally.remarks.setdefault("errors in the log", [])
                if len(errors) < 10:
                    errors.append(f"{note}: {said[:200]}")
            elif line.startswith("[ERROR]"):
                second, _, why = line.partition(": frame ")[2].partition(" failed: ")
                case = self.cases.get(int(second.partition(".")[0]) - stamp_of(0)[0], "another")
                what = case.what if isinstance(case, Damaged) else case
                tally.note(f"failed ({what}): {why[:200]}")
        if self._strange:
            tally.fell("wrong", f"{note}: the alert says {self._strange}")
            self._strange = ""
        status = self._process.process.poll()
        if status is not None:
            tally.fell("crashes", f"{note}: the node ended with status {status}: {text[-300:]}")
            self.open(self._transport)

    def settle(self) -> dict[str, int]:
        """Waits until two reports agree that no frame is in work; returns the counters."""
        last: dict[str, int] = {}
        for _ in range(20):
            known = self._reports
            wait_until(partial(self._has_report_after, known), 5.0)
            counters = self.counters()
            if counters == last:
                break
            last = counters
        return last

    def _has_report_after(self, number: int) -> bool:
        return self._reports > number

    def counters(self) -> dict[str, int]:
        """The counters of the newest report."""
        return {name: int(self.diagnostics.get(name, 0)) for name in _COUNTERS}

    def _note_alert(self, message: DiagnosticArray) -> None:
        summary = message.status[0]
        for status in message.status:
            for item in status.values:
                if item.value.strip("-").lower() in ("inf", "infinity"):
                    self._strange = f"{item.key}: {item.value}"
        key = message.header.stamp.sec, message.header.stamp.nanosec
        with self._answered:
            self._answers[key] = summary.level[0]
            self._answered.notify_all()

    def _note_diagnostics(self, message: DiagnosticArray) -> None:
        if message.status and message.status[0].hardware_id.startswith("/faults/"):
            self.diagnostics = {item.key: item.value for item in message.status[0].values}
            self._reports += 1


def _is_heard(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())


def _good(bench: Bench, tally: Tally, note: str) -> None:
    """Sends a good frame, which must be answered, and looks at the node; a second one if the first was overtaken."""
    seconds = bench.good_frame() or bench.good_frame()
    bench.look(tally, note)
    if seconds is None:
        tally.fell("unanswered", f"{note}: no answer to the good frame after them")
    else:
        tally.answered(seconds)


class _Account:
    """Holds what was sent against what the node counts: every frame ends in exactly one of its counters."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._sent, self._before = bench.sent, bench.settle()

    def close(self, tally: Tally, is_exact: bool) -> None:
        """Adds the counters to the remarks, and failed frames to what fell."""
        after, sent = self._bench.settle(), self._bench.sent - self._sent
        ended = {name: after[name] - self._before[name] for name in _COUNTERS}
        total = sum(ended[name] for name in ("processed", "dropped", "rejected", "failed"))
        tally.remarks["frames"] = f"{sent} sent = {total}: {', '.join(f'{n} {v}' for n, v in ended.items())}"
        if ended["failed"] > 0:
            tally.failed += ended["failed"]
            tally.note(f"failed: the last one: {self._bench.diagnostics.get('last_failed')}")
        if is_exact and total != sent:
            tally.fell("wrong", f"{sent} frames sent, but {total} counted")


def images(bench: Bench, plan: Plan, transport: str) -> Tally:
    """Sends damaged pictures with good frames between them."""
    draw, full = {"raw": (raw_image, 20_000), "compressed": (compressed_image, 10_000)}[transport]
    return _messages(bench, plan, transport, transport, full, draw)


def side(bench: Bench, plan: Plan) -> Tally:
    """Sends wild camera_info, disparity and odometry with good frames between them."""
    return _messages(bench, plan, "side", "raw", 5_000, side_message)


def _answered_again(bench: Bench, damaged: Damaged, number: int) -> bool:
    """Sends a message once more: on a busy machine a newer one may have taken its place."""
    bench.send(damaged)
    return bench.wait_for(number, _PATIENCE)


def _messages(
    bench: Bench, plan: Plan, group: str, transport: str, full: int, draw: Callable[[Random, int], Damaged]
) -> Tally:
    tally = Tally(group)
    bench.open(transport)
    account, numbers = _Account(bench), list(plan.numbers(full))
    starts = range(0, len(numbers), _BATCH)
    with timed(tally):
        for start in progress(starts, group, len(starts)):
            part, batch = numbers[start : start + _BATCH], {}
            for case in part:
                number = bench.next_number()
                # The stamp is of the case's place in the run; all else is a function of seed, group and case.
                batch[number] = damaged = draw(plan.random(group, case), number)
                bench.cases[number] = damaged
                tally.tried += 1
                bench.send(damaged)
                if damaged.is_seen or damaged.topic:
                    time.sleep(min(max(_PAUSE[0], 0.1 * tally.last_s), _PAUSE[1]))
                elif bench.wait_for(number, _PATIENCE if damaged.is_good else _GLANCE):
                    tally.answers += 1
                elif damaged.is_good and not _answered_again(bench, damaged, number):
                    tally.fell("unanswered", f"case {case} ({damaged.what}): right, but not answered")
            _good(bench, tally, f"cases {part[0]} to {part[-1]}")
            stamps = Counter(damaged.data[_STAMP] for damaged in batch.values())
            for case, (number, damaged) in zip(part, batch.items(), strict=True):
                if stamps[damaged.data[_STAMP]] > 1:
                    continue  # a flipped stamp may be that of another message, whose answer it then gets
                if damaged.is_seen and bench.level_of(number) not in (None, _STALE):
                    tally.fell("wrong", f"case {case} ({damaged.what}): answered as if it were whole")
            if start % (100 * _BATCH) == 0:
                bench.forget()
            if tally.is_hopeless:
                break
        account.close(tally, is_exact=True)
    return tally


_WILD_NUMBERS = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, -0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 50.0)
_WILD_INTEGERS = (0, 1, -1, 2, 5, 2**31 - 1, 2**31, 2**63 - 1, -(2**63))
_WILD_TEXTS = ("", " ", "auto", "raw", "x" * 100_000, "é☃\n", "nan", "../..", "road", "[", "%s")
_PARTS: dict[int, tuple[str, Callable[[Random], Any]]] = {
    ParameterType.PARAMETER_NOT_SET: ("", lambda random: None),
    ParameterType.PARAMETER_BOOL: ("bool_value", lambda random: random.random() < 0.5),
    ParameterType.PARAMETER_INTEGER: ("integer_value", lambda random: random.choice(_WILD_INTEGERS)),
    ParameterType.PARAMETER_DOUBLE: ("double_value", lambda random: random.choice(_WILD_NUMBERS)),
    ParameterType.PARAMETER_STRING: ("string_value", lambda random: random.choice(_WILD_TEXTS)),
    ParameterType.PARAMETER_BYTE_ARRAY: (
        "byte_array_value",
        lambda random: [bytes([item]) for item in random.randbytes(random.choice((0, 1, 9)))],
    ),
    ParameterType.PARAMETER_BOOL_ARRAY: ("bool_array_value", lambda random: [True] * random.choice((0, 2, 8))),
    ParameterType.PARAMETER_INTEGER_ARRAY: (
        "integer_array_value",
        lambda random: random.choices(_WILD_INTEGERS, k=random.choice((0, 1, 2, 6, 8, 1000))),
    ),
    ParameterType.PARAMETER_DOUBLE_ARRAY: (
        "double_array_value",
        lambda random: random.choices(_WILD_NUMBERS, k=random.choice((0, 1, 2, 6, 8, 1000))),
    ),
    ParameterType.PARAMETER_STRING_ARRAY: (
        "string_array_value",
        lambda random: random.choices(_WILD_TEXTS, k=random.choice((0, 1, 3))),
    ),
    99: ("double_value", lambda random: 1.0),
}
_TYPES = {"bool": 1, "int": 2, "float": 3, "str": 4, "int[]": 7, "float[]": 8, "str[]": 9}


def _value(random: Random, name: str) -> tuple[ParameterValue, Any]:
    """Draws a value: in half of the cases of the parameter's own type."""
    own = _TYPES[PARAMETERS[name].kind] if name in PARAMETERS else 3
    kind = own if random.random() < 0.5 else random.choice(list(_PARTS))
    field, draw = _PARTS[kind]
    message, value = ParameterValue(type=kind), draw(random)
    if field:
        setattr(message, field, value)
    return message, value


def _is_allowed(name: str, kind: int, value: Any) -> bool:
    """Whether the node may take a value, as far as it can be told from the table without the node's own checks."""
    if name not in PARAMETERS:
        return False
    row = PARAMETERS[name]
    own = _TYPES[row.kind]
    if not row.live or kind not in (own, {3: 2, 8: 7}.get(own)):
        return False
    items = value if isinstance(value, list) else [value]
    low, high = row.span or (-1e300, 1e300)
    return all(low <= item <= high for item in items if isinstance(item, (int, float)))


def parameters(bench: Bench, plan: Plan) -> Tally:
    """Sets parameters to values of every type through the services, with good frames between."""
    tally = Tally("parameters")
    bench.open("raw")
    names, numbers = [*PARAMETERS, "use_sim_time_", "", "qos_overrides.x"], list(plan.numbers(2_500))
    with timed(tally):
        for place, case in enumerate(progress(numbers, "parameters", len(numbers))):
            random = plan.random("parameters", case)
            count = random.choice((1, 1, 1, 2, 5))
            drawn = [(name, *_value(random, name)) for name in random.choices(names, k=count)]
            tally.tried += 1
            wanted = [Parameter(name=name, value=message) for name, message, _ in drawn]
            note = f"case {case} ({', '.join(f'{name}: type {m.type}, {str(v)[:40]}' for name, m, v in drawn)})"
            began = time.monotonic()
            if random.random() < 0.5:
                response = bench.call(SetParameters, "set_parameters", SetParameters.Request(parameters=wanted))
                results = None if response is None else response.results
            else:
                request = SetParametersAtomically.Request(parameters=wanted)
                response = bench.call(SetParametersAtomically, "set_parameters_atomically", request)
                results = None if response is None else [response.result] * count
            if results is None:
                tally.fell("unanswered", f"{note}: no answer of the service")
                bench.look(tally, note)
                bench.call(SetParameters, "set_parameters", _defaults())
            else:
                tally.answered(time.monotonic() - began)
                for (name, message, value), result in zip(drawn, results, strict=True):
                    if result.successful and not _is_allowed(name, message.type, value):
                        tally.fell("wrong", f"{note}: {name} was taken")
                    elif not result.successful and (not result.reason or "\n" in result.reason.strip()):
                        tally.fell("wrong", f"{note}: {name} refused with {result.reason!r}")
            if place % _BATCH == _BATCH - 1 or case == numbers[-1]:
                # The alert may be switched off, which is no fault; all else must go on with the values taken.
                on = Parameter(name="publish_hazard_alert", value=ParameterValue(type=1, bool_value=True))
                bench.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[on]))
                _good(bench, tally, f"up to {note}")
                bench.call(SetParameters, "set_parameters", _defaults())
            if tally.is_hopeless:
                break
        bench.call(SetParameters, "set_parameters", _defaults())
        _good(bench, tally, "with the defaults again")
    return tally


def _defaults() -> SetParameters.Request:
    request = SetParameters.Request()
    for name, row in PARAMETERS.items():
        if row.live and row.default is not None:
            kind = _TYPES[row.kind]
            message = ParameterValue(type=kind)
            value = list(row.default) if isinstance(row.default, tuple) else row.default
            setattr(message, _PARTS[kind][0], value)
            request.parameters.append(Parameter(name=name, value=message))
    request.parameters.append(Parameter(name="anomaly_threshold", value=ParameterValue(type=3, double_value=-16.0)))
    return request


_MOVES = {
    ("unconfigured", Transition.TRANSITION_CONFIGURE): "inactive",
    ("inactive", Transition.TRANSITION_ACTIVATE): "active",
    ("inactive", Transition.TRANSITION_CLEANUP): "unconfigured",
    ("active", Transition.TRANSITION_DEACTIVATE): "inactive",
}
_STRANGE_MOVES = (*range(9), 10, 30, 60, 97, 99, 255)
_SHUTDOWNS = (
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
)


def lifecycle(bench: Bench, plan: Plan) -> Tally:
    """Calls the transitions, possible ones and others, pauses and resumes, while frames come."""
    tally = Tally("lifecycle")
    bench.open("raw")
    numbers, ended = list(plan.numbers(1_000)), threading.Event()
    frames = threading.Thread(target=_keep_sending, args=(bench, ended))
    with timed(tally):
        frames.start()
        try:
            for place, case in enumerate(progress(numbers, "lifecycle", len(numbers))):
                _transition(bench, tally, plan.random("lifecycle", case), case)
                if place % _BATCH == _BATCH - 1 or case == numbers[-1]:
                    _back_to_active(bench, tally, f"after case {case}")
                if tally.is_hopeless:
                    break
        finally:
            ended.set()
            frames.join()
        bench.forget()
        _back_to_active(bench, tally, "at the end")
        _good(bench, tally, "active again")
    return tally


def _keep_sending(bench: Bench, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        bench.send(Damaged("good", good_frame(bench.next_number("good"), "raw")))


def _state(bench: Bench) -> str:
    response = bench.call(GetState, "get_state", GetState.Request(), 2 * _PATIENCE)
    return "" if response is None else response.current_state.label


def _transition(bench: Bench, tally: Tally, random: Random, case: int) -> None:
    tally.tried += 1
    before, began = _state(bench), time.monotonic()
    if random.random() < 0.15:
        name = random.choice(("pause", "resume"))
        note = f"case {case} ({name} in {before})"
        response = bench.call(Trigger, name, Trigger.Request())
        expected = None
    else:
        possible = [move for (state, move) in _MOVES if state == before]
        is_wanted = possible and random.random() < 0.5
        number = random.choice(possible if is_wanted else _STRANGE_MOVES)
        if number in _SHUTDOWNS and random.random() < 0.9:
            number = 0
        label = random.choice(("", "", "", "nothing", "é", "x" * 1000))
        note = f"case {case} (transition {number} {label[:9]!r} in {before})"
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        response = bench.call(ChangeState, "change_state", request, 5.0 if not is_wanted else _PATIENCE)
        expected = _MOVES.get((before, number)) if not label else None
    bench.look(tally, note)
    if response is None:
        tally.fell("unanswered", f"{note}: no answer of the service")
        return
    tally.answered(time.monotonic() - began)
    after = _state(bench)
    if not after:
        tally.fell("unanswered", f"{note}: the state is not told afterwards")
    elif expected and (after != expected or not response.success):
        tally.fell("wrong", f"{note}: success {response.success}, state {after} instead of {expected}")
    elif response.success and after == before and isinstance(response, ChangeState.Response):
        tally.fell("wrong", f"{note}: success, but the state is {after} as before")


def _back_to_active(bench: Bench, tally: Tally, note: str) -> None:
    for _ in range(4):
        state = _state(bench)
        if state == "active":
            bench.call(Trigger, "resume", Trigger.Request())
            return
        if state not in ("unconfigured", "inactive"):
            break
        move = Transition.TRANSITION_CONFIGURE if state == "unconfigured" else Transition.TRANSITION_ACTIVATE
        bench.call(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=move)), _LONG)
    if state != "finalized":
        tally.fell("wrong", f"{note}: the node can't be activated again, it is {state or 'silent'}")
    bench.restart()


def node_models(bench: Bench, plan: Plan) -> Tally:
    """Starts nodes on damaged models: each is refused in one line with status 1 or 2, or harmless."""
    tally = Tally("node_models")
    with tempfile.TemporaryDirectory() as folder, timed(tally):
        for case in plan.numbers(20):
            path, what, is_seen = damaged_model(plan.random("models", case), Path(folder))
            note, began = f"case {case} of models ({what})", time.monotonic()
            tally.tried += 1
            with NodeProcess({"model": str(path), "device": "cpu", "backend": "eager"}) as process:
                try:
                    process.wait_until_active(_LONG)
                    status: int | None = 0
                except InputError:
                    status = process.process.poll()
                text = process.log()
            if "Traceback (most recent call last)" in text:
                tally.fell("tracebacks", f"{note}: {text.strip().splitlines()[-1]}")
            elif status is None:
                tally.fell("unanswered", f"{note}: neither active nor ended after {_LONG:.0f} s")
            elif status not in (0, 1, 2):
                tally.fell("crashes", f"{note}: status {status}")
            elif status == 0 and is_seen:
                tally.fell("wrong", f"{note}: the node is active")
            else:
                tally.answered(time.monotonic() - began)
    return tally


def soak(bench: Bench, plan: Plan, minutes: float) -> Tally:
    """Sends frames as fast as the node takes them, one in ten damaged; watches memory, descriptors and threads."""
    tally = Tally("soak")
    bench.open("raw")
    samples: list[dict[str, float]] = []
    account, began, case = _Account(bench), time.monotonic(), 0
    quiet = min(300.0, 30.0 * minutes)  # seconds: five minutes of thirty, in which libraries allocate what they keep
    with timed(tally):
        while (now := time.monotonic() - began) < 60.0 * minutes:
            for _ in range(_BATCH - 1):
                case += 1
                bench.send(Damaged("good", good_frame(bench.next_number("good"), "raw")))
                time.sleep(_PAUSE[0])
            number = bench.next_number()
            bench.cases[number] = damaged = raw_image(plan.random("raw", case), number)
            bench.send(damaged)
            tally.tried += _BATCH
            _good(bench, tally, f"frame {number}")
            if not samples or now - samples[-1]["s"] > max(1.0, minutes):
                samples.append(_usage(bench.process_id, now))
                bench.forget()
        account.close(tally, is_exact=True)
    _judge_usage(tally, [sample for sample in samples if sample["s"] >= quiet] or samples)
    return tally


def _usage(process_id: int, seconds: float) -> dict[str, float]:
    """Returns memory in MiB, open descriptors and threads of a process; memory shared through /dev/shm is left out."""
    folder = Path(f"/proc/{process_id}")
    lines = (folder / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    pss = (kibibytes["Pss_Anon"] + kibibytes["Pss_File"]) / 1024
    descriptors, threads = (len(list((folder / name).iterdir())) for name in ("fd", "task"))
    return {"s": round(seconds, 1), "pss_mib": round(pss, 1), "descriptors": descriptors, "threads": threads}


def _judge_usage(tally: Tally, samples: list[dict[str, float]]) -> None:
    if not samples:
        return
    first, last = samples[0], samples[-1]
    tally.remarks["usage"] = f"from {first} to {last}"
    if last["pss_mib"] > 1.02 * first["pss_mib"]:
        tally.fell("wrong", f"memory grows from {first['pss_mib']} to {last['pss_mib']} MiB")
    for what in ("descriptors", "threads"):
        if len({sample[what] for sample in samples}) > 1:
            tally.fell("wrong", f"{what} are not constant: {sorted({sample[what] for sample in samples})}")


def measure(groups: Iterable[str], plan: Plan, minutes: float, threads: int) -> dict[str, Any]:
    """Runs the groups one after another on one node, which is started again where its transport changes or it ends."""
    run: dict[str, Callable[[Bench], Tally]] = {
        "raw": lambda bench: images(bench, plan, "raw"),
        "side": lambda bench: side(bench, plan),
        "parameters": lambda bench: parameters(bench, plan),
        "lifecycle": lambda bench: lifecycle(bench, plan),
        "soak": lambda bench: soak(bench, plan, minutes),
        "compressed": lambda bench: images(bench, plan, "compressed"),
        "node_models": lambda bench: node_models(bench, plan),
    }
    tallies = []
    with spinning_node("faults") as node:
        bench = Bench(node, threads)
        try:
            for name in (name for name in run if name in groups):
                tally = run[name](bench)
                tallies.append(tally.to_dict())
                fallen = {what: getattr(tally, what) for what in FALLS}
                print(f"{name}: {tally.tried} tried, {fallen}", file=sys.stderr, flush=True)
        finally:
            bench.close()
    return {"groups": tallies}


if __name__ == "__main__":
    answer(lambda plan, **options: measure(plan=Plan(**plan), **options))
