"""The flags of ``facemend restore`` for the restore options, made from their one declaration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
from pydantic.fields import FieldInfo

from shared.restore_options import RestoreOptions

#: The flag that switches off an option that is on by default.
_OFF_FLAGS = {"skip_sharp": "--restore-sharp"}


class FacesType(click.ParamType[str | tuple[int, ...]]):
    """``all``, ``largest``, ``center`` or indexes such as ``0,2``."""

    name = "faces"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | tuple[int, ...]:
        """Return the word or the indexes; a usage error ends the command."""
        text = str(value)
        if text in {"all", "largest", "center"}:
            return text
        try:
            indexes = tuple(int(part) for part in text.split(","))
        except ValueError:
            indexes = (-1,)
        if min(indexes) < 0:
            self.fail(f"{text!r}: say all, largest, center, or indexes such as 0,2", param, ctx)
        return indexes


def restore_option_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for each restore option, in the order of the declaration."""
    types = get_type_hints(RestoreOptions, include_extras=True)
    for option in reversed(fields(RestoreOptions)):
        command = _flag(option.name, types[option.name], option.default)(command)
    return command


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that differ from their default, as JSON has them."""
    defaults = {option.name: option.default for option in fields(RestoreOptions)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value != defaults[name]
    }


def _flag(option: str, declared: Any, default: Any) -> Callable[..., Any]:
    info = FieldInfo.from_annotation(declared)
    name = f"--{option.replace('_', '-')}"
    if option in _OFF_FLAGS:
        name = f"{name}/{_OFF_FLAGS[option]}"
    is_flag = info.annotation is bool
    return click.option(
        name,
        option,
        is_flag=is_flag,
        type=None if is_flag else _click_type(info),
        default=default,
        show_default=default is not None and (not is_flag or option in _OFF_FLAGS),
        help=info.description,
    )


def _click_type(info: FieldInfo) -> click.ParamType[Any]:
    """Return the click type of a declared type and range."""
    kind: Any = info.annotation
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind in {int, float}:
        low = next((each.ge for each in info.metadata if hasattr(each, "ge")), None)
        high = next((each.le for each in info.metadata if hasattr(each, "le")), None)
        return click.IntRange(low, high) if kind is int else click.FloatRange(low, high)
    arms = [arm for arm in get_args(kind) if arm is not type(None)]
    return _click_type(FieldInfo.from_annotation(arms[0])) if len(arms) == 1 else FacesType()
