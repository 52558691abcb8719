"""YAML mappings into frozen dataclasses, checked by the dataclasses' own type hints.

Knows the types a spec is made of: str, int, bool, tuple[str, ...], dict[str, str], nested dataclasses, and
each of them or None. Written by hand because this folder needs nothing but PyYAML.
"""

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cluster.errors import SpecError

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", bool: "true or false"}


def read_dataclass(kind: type[T], document: object, place: str = "") -> T:
    """An instance of `kind`; `place` is the dotted path for the message of the SpecError."""
    here = place or "the spec"
    if not isinstance(document, dict):
        raise SpecError(f"{here}: expected key: value lines, got {document!r}")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in document:
        if key not in known:
            raise SpecError(f"{_join(place, key)}: unknown key; {here} has {', '.join(known)}")
    hints = get_type_hints(kind)
    values = {}
    for name, item in known.items():
        if name in document:
            values[name] = _read(hints[name], document[name], _join(place, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise SpecError(f"{_join(place, name)}: missing")
    return kind(**values)


def _read(hint: Any, value: object, place: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not types.NoneType)
    if is_dataclass(hint):
        return read_dataclass(hint, value, place)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise SpecError(f"{place}: expected a list, got {value!r}")
        return tuple(_read(str, entry, f"{place}[{position}]") for position, entry in enumerate(value))
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{place}: expected key: value lines, got {value!r}")
        return {_read(str, key, place): _read(str, entry, _join(place, key)) for key, entry in value.items()}
    # `gpus: true` is a mistake although bool is an int to Python; `ray_version: 2.6` is a number, no version.
    if type(value) is not hint:
        quotes = ": put it into quotes" if hint is str and value is not None else ""
        raise SpecError(f"{place}: expected {_WORDS[hint]}, got {value!r}{quotes}")
    return value


def _join(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
