# SPDX-License-Identifier: Apache-2.0
"""The parameter table on a ROS node: declared with descriptors, validated, and handed on as snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import HistoryPolicy, ReliabilityPolicy

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.road import unknown_classes
from densehybrid_ros.perception.parameter import Parameter, frozen
from densehybrid_ros.perception.parameter_files import suggestion
from densehybrid_ros.perception.settings import PARAMETERS, Settings

if TYPE_CHECKING:
    # PyTorch is imported when the node configures, not before.
    from densehybrid_ros.networks import ModelCard

_THRESHOLD = "anomaly_threshold"
_QOS_POLICIES = {"history": HistoryPolicy, "reliability": ReliabilityPolicy}
_HANDLED_BY_ROS = ("qos_overrides.", "start_type_description_service", "use_sim_time")


class ParameterServer:
    """Declares the table on a node and keeps ``settings``, the snapshot that the next frame is processed with."""

    def __init__(self, node: Node) -> None:
        """Declares all parameters with the values that launch or YAML file give; warns about those that none takes.

        Raises:
            InputError: A given value is of the wrong type or not allowed, or two contradict each other.
        """
        self._node = node
        self._card: ModelCard | None = None
        self.settings = Settings()
        # rclpy has no public way to list what the command line and the YAML file give to a node.
        given = {name: item.value for name, item in getattr(node, "_parameter_overrides", {}).items()}
        for parameter in PARAMETERS.values():
            self._declare(parameter, given.get(parameter.name))
        self.settings.check()
        for name, value in sorted(given.items()):
            _check_qos(name, value)
            if not node.has_parameter(name) and not name.startswith(_HANDLED_BY_ROS):
                text = f"parameter {name!r} is given, but this node has none of that name{suggestion(name)}"
                node.get_logger().warning(text)
        if hasattr(node, "add_pre_set_parameters_callback"):
            node.add_pre_set_parameters_callback(_coerce)
        node.add_on_set_parameters_callback(self._validate)
        # Humble does not tell when parameters are set, so the validation applies them.
        self._applies_after_validation = hasattr(node, "add_post_set_parameters_callback")
        if self._applies_after_validation:
            node.add_post_set_parameters_callback(self._apply)

    def take_card(self, card: ModelCard) -> None:
        """Takes from a model's card the names of its classes, and the threshold where the user has given none.

        From then on ``anomaly_threshold`` has a fixed type and the range of the card's thresholds, with as much to both
        sides. An unset one can't: ROS answers a request for parameters of which one is so with none at all.

        Raises:
            InputError: The card does not have the threshold.
        """
        self._card = card
        if problem := _class_problem(card, self.settings.drivable_classes):
            self._node.get_logger().warning(problem)
        threshold = self.settings.anomaly_threshold
        if threshold is None:
            threshold = float(card.threshold(self.settings.threshold_name or None))
            self._node.set_parameters([RosParameter(_THRESHOLD, value=threshold)])
        row, named = PARAMETERS[_THRESHOLD], card.thresholds.values() or (threshold,)
        assert row.span is not None
        low, high = min(named), max(named)
        width = high - low or row.span[1]
        span = max(min(low - width, threshold), row.span[0]), min(max(high + width, threshold), row.span[1])
        self._node.set_descriptor(_THRESHOLD, _descriptor(replace(row, span=span, default=threshold)))

    def _declare(self, parameter: Parameter, given: Any) -> None:
        value = parameter.default if given is None else parameter.taken(given)
        # The value is checked and coerced already, so the node's own look-up of the override is passed by.
        as_ros = list(value) if isinstance(value, tuple) else value
        self._node.declare_parameter(parameter.name, as_ros, _descriptor(parameter), ignore_override=True)
        self.settings = replace(self.settings, **{parameter.name: value})

    def _validate(self, parameters: list[RosParameter]) -> SetParametersResult:
        try:
            for item in parameters:
                if not item.name:  # rclpy refuses others that are not declared
                    raise InputError("a parameter has no name")
                if item.name in PARAMETERS:
                    PARAMETERS[item.name].check(item.value)
            changes = _changes(parameters)
            replace(self.settings, **changes).check()
            if self._card and (problem := _class_problem(self._card, changes.get("drivable_classes", ()))):
                raise InputError(f"parameter {problem}")
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not self._applies_after_validation:
            self._apply(parameters)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[RosParameter]) -> None:
        # One assignment: the worker sees the old snapshot or the new one, never a mixture.
        self.settings = replace(self.settings, **_changes(parameters))


def _check_qos(name: str, value: Any) -> None:
    """Checks a ``qos_overrides./topic.publisher.policy``, of which rclpy's own complaint does not name the topic."""
    policy = name.rpartition(".")[2]
    if not name.startswith("qos_overrides."):
        return
    if policy in _QOS_POLICIES:
        names = [item.lower() for item in _QOS_POLICIES[policy].__members__ if item.isupper() and item != "UNKNOWN"]
        if value not in names:
            raise InputError(f"parameter {name}: {value!r} is not one of {', '.join(names)}")
    elif policy == "depth" and (type(value) is not int or value < 1):
        raise InputError(f"parameter {name}: {value!r} is no number of messages")


def _class_problem(card: ModelCard, names: Sequence[str]) -> str | None:
    """Says which of the names of ``drivable_classes`` the model does not have; None if it has all."""
    for name in unknown_classes(card.classes, names):
        known = [item.name for item in card.classes]
        return f"drivable_classes: {card.name} has no class {name!r}{suggestion(name, known)}"
    return None


def _coerce(parameters: list[RosParameter]) -> list[RosParameter]:
    coerced = []
    for item in parameters:
        value = PARAMETERS[item.name].coerce(item.value) if item.name in PARAMETERS else item.value
        coerced.append(item if value is item.value else RosParameter(item.name, value=value))
    return coerced


def _changes(parameters: list[RosParameter]) -> dict[str, Any]:
    return {item.name: frozen(item.value) for item in parameters if item.name in PARAMETERS}


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=parameter.constraint,
        read_only=not parameter.live,
        # Without a default there is no type that rclpy could infer; the check sees to it.
        dynamic_typing=parameter.default is None,
        type=ParameterType.PARAMETER_DOUBLE if parameter.kind == "float" else ParameterType.PARAMETER_NOT_SET,
    )
    if parameter.span:
        low, high = parameter.span
        if parameter.kind == "int":
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            reach = FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            descriptor.floating_point_range = [reach]
    return descriptor
