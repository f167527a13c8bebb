"""Names and values that a caller got wrong, in one sentence."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from napari_sam.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse settings that there are not, and name the closest that there is.

    Raises
    ------
    SettingsError
        If one of the names is not known.
    """
    for name in sorted(set(given) - set(known)):
        closest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {closest[0]!r}?" if closest else ""
        raise SettingsError(
            f"There is no setting {name!r}; "
            + (hint or f"choose from {', '.join(sorted(known))}.")
        )


def check_type(name: str, value: Any, kind: type, what: str) -> None:
    """Refuse a value of another type.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : object
        What was given.
    kind : type
        What it is to be.
    what : str
        The same in words, with an article: "an EverythingSettings".

    Raises
    ------
    SettingsError
        If it is of another type.
    """
    if not isinstance(value, kind):
        raise SettingsError(f"{name} is {value!r}; pass {what}.")
