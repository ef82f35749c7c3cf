"""Object types for the checker: each is a protobuf message that exists only as a descriptor.

A message has no list of lists and no map of lists: of these the checker knows the outer type only.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

from .overloads import TypeSpec, parse_type

PACKAGE = "k8s"

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "int": _Field.TYPE_INT64,
    "uint": _Field.TYPE_UINT64,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}
_KNOWN = {
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "list": ".google.protobuf.ListValue",
    "map": ".google.protobuf.Struct",
}
_VALUE = ".google.protobuf.Value"
_ALONE = itertools.count()
"""Every set of messages is a file of its own name: the checker would otherwise mix them up."""


class Messages:
    """A set of object types that may refer to each other; ``pool`` is what the checker takes them from."""

    def __init__(self) -> None:
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._pool: descriptor_pool.DescriptorPool | None = None
        self._names: set[str] = set()
        self.environments: dict[Any, Any] = {}
        """The checker's environments for these types, by what else they declare."""

    def extended(self) -> "Messages":
        """A copy, to which more can be added."""
        made = Messages()
        for package, file in self._files.items():
            made._file(package).message_type.extend(file.message_type)
        made._names = set(self._names)
        return made

    def _file(self, package: str) -> descriptor_pb2.FileDescriptorProto:
        if package not in self._files:
            self._files[package] = descriptor_pb2.FileDescriptorProto(
                name=f"kubeto/{next(_ALONE)}.proto",
                package=package,
                syntax="proto3",
                dependency=[m.DESCRIPTOR.name for m in (struct_pb2, timestamp_pb2, duration_pb2)],
            )
        return self._files[package]

    def reserve(self, name: str) -> str:
        """The full name of a new type, which may be used before its fields are told."""
        full = f"{PACKAGE}.{name}"
        for number in itertools.count(2):
            if full not in self._names:
                break
            full = f"{PACKAGE}.{name}_{number}"
        self._names.add(full)
        return full

    def add(self, full: str, fields: Mapping[str, str]) -> str:
        """A type by CEL's names of its fields and their types; the name that variables of it are declared with."""
        package, _, short = full.rpartition(".")
        self._names.add(full)
        message = self._file(package).message_type.add(name=short)
        self._pool = None
        message.options.deprecated_legacy_json_field_conflicts = True
        for number, (name, cel_type) in enumerate(fields.items(), 1):
            _add_field(message, full, name, number, parse_type(cel_type), self._names)
        return full

    def pool(self) -> descriptor_pool.DescriptorPool:
        if self._pool is None:
            self._pool = descriptor_pool.DescriptorPool()
            for module in (struct_pb2, timestamp_pb2, duration_pb2):
                self._pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
            for file in self._files.values():
                self._pool.AddSerializedFile(file.SerializeToString())
        return self._pool


def _add_field(
    message: descriptor_pb2.DescriptorProto, full: str, name: str, number: int, spec: TypeSpec, names: set[str]
) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL, json_name=f"f{number}")
    if spec.name == "list" and spec.parameters:
        field.label = _Field.LABEL_REPEATED
        _set_type(field, spec.parameters[0], names)
    elif spec.name == "map" and spec.parameters and _entry_name(name) not in [m.name for m in message.nested_type]:
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        entry = message.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), spec.parameters[1], names)
        field.type_name = f".{full}.{entry.name}"
    else:
        _set_type(field, spec, names)


def _entry_name(field: str) -> str:
    """What protobuf wants the entries of a map field to be called: of two alike, one cannot be a map of known types."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"


def _set_type(field: _Field, spec: TypeSpec, names: set[str]) -> None:
    scalar = _SCALARS.get(spec.name)
    if scalar is not None:
        field.type = scalar
        return
    field.type = _Field.TYPE_MESSAGE
    field.type_name = f".{spec.name}" if spec.name in names else _KNOWN.get(spec.name, _VALUE)
