"""Settings whose limits are written once, beside the fields.

A field says by its type what it may be, and with a `Range` between which limits; from
that follow what is refused, in one sentence, and the options of the command line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from napari_sam.core.names import check_type
from napari_sam.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, both included.

    Parameters
    ----------
    low, high : float
        The limits.
    above : bool
        Whether the lower one is left out.
    step : int
        The number is a multiple of this; 0 if it need not be whole.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    step: int = 0

    def __str__(self) -> str:
        kind = {0: "a value", 1: "a whole number"}.get(
            self.step, f"a multiple of {self.step}"
        )
        if self.low == -math.inf:
            return kind
        start = f"{kind} {'above' if self.above else 'from'} {self.low:g}"
        return f"{start} to {self.high:g}" if self.high < math.inf else start

    def check(self, name: str, value: Any) -> None:
        """Refuse what is no number within the limits.

        Raises
        ------
        SettingsError
            If it is not.
        """
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            raise SettingsError(
                f"{name} is {value!r}, which is no number; choose {self}."
            )
        fits = self.low <= value <= self.high and not (self.above and value == self.low)
        if self.step and (not isinstance(value, int | np.integer) or value % self.step):
            fits = False
        if not fits:
            raise SettingsError(f"{name} is {value}; choose {self}.")


Share = Annotated[float, Range(0, 1)]
"""A part of a whole, or a probability."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field of settings may be.

    Parameters
    ----------
    name : str
        Of the field.
    kind : type
        Of its values; ``object`` if anything goes here and the class looks itself.
    default : object
        Without a choice; None if it is made anew each time.
    limits : Range
        Of a number.
    choices : tuple of str
        All that it may be, if these are texts.
    is_optional : bool
        Whether it may be None.
    """

    name: str
    kind: type
    default: Any
    limits: Range
    choices: tuple[str, ...] = ()
    is_optional: bool = False

    def check(self, value: Any, name: str = "") -> None:
        """Refuse what it cannot be.

        Parameters
        ----------
        value : object
            What was given.
        name : str
            What it is called where it was given; that of the field by default.

        Raises
        ------
        SettingsError
            If it is something else.
        """
        name = name or self.name
        if value is None and self.is_optional:
            return
        if self.choices:
            if value not in self.choices:
                raise SettingsError(
                    f"{name} is {value!r}; choose from {', '.join(self.choices)}."
                )
        elif self.kind in (int, float):
            self.limits.check(name, value)
        elif self.kind is bool:
            check_type(name, value, bool, "True or False")
        else:
            kind = self.kind.__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            check_type(name, value, self.kind, f"{article} {kind}")


class Settings:
    """Base of frozen dataclasses that refuse what a field cannot be.

    Raises
    ------
    SettingsError
        If a value is of another type, or outside its range.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in settings_of(type(self)):
            one.check(getattr(self, one.name))


_known: dict[type, tuple[Setting, ...]] = {}


def settings_of(kind: type[Any]) -> tuple[Setting, ...]:
    """Return what the fields of a dataclass may be, in order."""
    if kind not in _known:
        hints = get_type_hints(kind, include_extras=True)
        _known[kind] = tuple(
            _setting(f.name, hints[f.name], f.default) for f in fields(kind)
        )
    return _known[kind]


def _setting(name: str, hint: Any, default: Any) -> Setting:
    limits, is_optional = Range(), False
    while NoneType in get_args(hint) or get_origin(hint) is Annotated:
        if get_origin(hint) is Annotated:
            hint, limits = get_args(hint)
        else:
            is_optional = True
            hint = next(part for part in get_args(hint) if part is not NoneType)
    choices: tuple[str, ...] = ()
    if get_origin(hint) is Literal:
        hint, choices = str, get_args(hint)
    if hint is int and not limits.step:
        limits = Range(limits.low, limits.high, limits.above, 1)
    kind = hint if isinstance(hint, type) and get_origin(hint) is None else object
    own = default if isinstance(default, bool | int | float | str) else None
    return Setting(name, kind, own, limits, choices, is_optional)
