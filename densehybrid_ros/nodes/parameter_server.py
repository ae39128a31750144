"""The parameter table on a ROS node: declared with descriptors, validated, and handed on as snapshots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.parameter import Parameter
from densehybrid_ros.perception.parameter_files import suggestion
from densehybrid_ros.perception.settings import PARAMETERS, Settings

_HANDLED_BY_ROS = ("qos_overrides.", "start_type_description_service", "use_sim_time")


class ParameterServer:
    """Declares the table on a node and keeps ``settings``, the snapshot that the next frame is processed with."""

    def __init__(self, node: Node) -> None:
        """Declares all parameters with the values that the launch or the YAML file gives.

        Args:
            node: The node; overrides that no parameter of its takes are warned about by name.

        Raises:
            InputError: A given value is of the wrong type or not allowed, or two contradict each other.
        """
        self._node = node
        self.settings = Settings()
        given = _overrides(node)
        for parameter in PARAMETERS.values():
            self._declare(parameter, given.get(parameter.name))
        self.settings.check()
        self._warn_of_unknown(given)
        if hasattr(node, "add_pre_set_parameters_callback"):
            node.add_pre_set_parameters_callback(_coerce)
        node.add_on_set_parameters_callback(self._validate)
        if self._applies_after_validation:
            node.add_post_set_parameters_callback(self._apply)

    def set_threshold_if_unset(self, threshold: float) -> None:
        """Gives ``anomaly_threshold`` the value of the model card unless the user has given one."""
        if self.settings.anomaly_threshold is None:
            self._node.set_parameters([RosParameter("anomaly_threshold", value=float(threshold))])

    @property
    def _applies_after_validation(self) -> bool:
        """Whether rclpy tells when parameters are set (Iron and later). On Humble the validation has to apply."""
        return hasattr(self._node, "add_post_set_parameters_callback")

    def _declare(self, parameter: Parameter, given: Any) -> None:
        value = parameter.default
        if given is not None:
            value = parameter.coerce(given)
            parameter.check(value)
        if isinstance(value, tuple):
            value = list(value)
        # The value is checked and coerced already, so the node's own look-up of the override is passed by.
        self._node.declare_parameter(parameter.name, value, _descriptor(parameter), ignore_override=True)
        self.settings = replace(self.settings, **{parameter.name: _frozen(value)})

    def _warn_of_unknown(self, given: dict[str, Any]) -> None:
        for name in sorted(given):
            if self._node.has_parameter(name) or name.startswith(_HANDLED_BY_ROS):
                continue
            text = f"parameter {name!r} is given, but this node has none of that name{suggestion(name)}"
            self._node.get_logger().warning(text)

    def _validate(self, parameters: list[RosParameter]) -> SetParametersResult:
        try:
            for item in parameters:
                if item.name in PARAMETERS:
                    PARAMETERS[item.name].check(item.value)
            replace(self.settings, **_changes(parameters)).check()
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if not self._applies_after_validation:
            self._apply(parameters)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[RosParameter]) -> None:
        # One assignment: the worker sees the old snapshot or the new one, never a mixture.
        self.settings = replace(self.settings, **_changes(parameters))


def _overrides(node: Node) -> dict[str, Any]:
    # rclpy has no public way to list what the command line and the YAML file give to a node.
    return {name: item.value for name, item in getattr(node, "_parameter_overrides", {}).items()}


def _coerce(parameters: list[RosParameter]) -> list[RosParameter]:
    coerced = []
    for item in parameters:
        value = PARAMETERS[item.name].coerce(item.value) if item.name in PARAMETERS else item.value
        coerced.append(item if value is item.value else RosParameter(item.name, value=value))
    return coerced


def _changes(parameters: list[RosParameter]) -> dict[str, Any]:
    return {item.name: _frozen(item.value) for item in parameters if item.name in PARAMETERS}


def _frozen(value: Any) -> Any:
    return tuple(value) if not isinstance(value, str) and hasattr(value, "__iter__") else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=parameter.constraint,
        read_only=not parameter.live,
        # Without a default there is no type that rclpy could infer; the check sees to it.
        dynamic_typing=parameter.default is None,
    )
    if parameter.minimum is not None and parameter.maximum is not None:
        if parameter.kind == "int":
            span = IntegerRange(from_value=int(parameter.minimum), to_value=int(parameter.maximum), step=1)
            descriptor.integer_range = [span]
        else:
            reach = {"from_value": float(parameter.minimum), "to_value": float(parameter.maximum)}
            descriptor.floating_point_range = [FloatingPointRange(**reach, step=0.0)]
    return descriptor
