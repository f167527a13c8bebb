"""Names of physical units in TIFF metadata and in napari."""

from __future__ import annotations

import re

from napari_sam.io.image_file import PIXEL

_NAMES = {
    "femtometer": ("fm", "femtometre"),
    "picometer": ("pm", "picometre"),
    "angstrom": ("Å", "Å", "ångström"),
    "nanometer": ("nm", "nanometre", "nanometers", "nanometres"),
    "micrometer": (
        "µm", "μm", "um", "micron", "microns", "micrometre", "micrometers",
    ),
    "millimeter": ("mm", "millimetre", "millimeters"),
    "centimeter": ("cm", "centimetre", "centimeters"),
    "decimeter": ("dm", "decimetre"),
    "inch": ("in", "inches"),
    "meter": ("m", "metre", "meters"),
    "kilometer": ("km", "kilometre"),
    "nanosecond": ("ns",),
    "microsecond": ("µs", "μs", "us"),
    "millisecond": ("ms", "msec"),
    "second": ("s", "sec", "seconds"),
    "minute": ("min", "minutes"),
    "hour": ("h", "hours"),
    "day": ("d", "days"),
    PIXEL: ("pixels", "px", "", "dimensionless"),
}  # fmt: skip
_FULL = {alias: name for name, aliases in _NAMES.items() for alias in (name, *aliases)}
_OME = {
    "femtometer": "fm", "picometer": "pm", "angstrom": "Å", "nanometer": "nm",
    "micrometer": "µm", "millimeter": "mm", "centimeter": "cm", "decimeter": "dm",
    "inch": "in", "meter": "m", "kilometer": "km", "nanosecond": "ns",
    "microsecond": "µs", "millisecond": "ms", "second": "s", "minute": "min",
    "hour": "h", "day": "d", PIXEL: "pixel",
}  # fmt: skip
_METERS = {
    "femtometer": 1e-15, "picometer": 1e-12, "angstrom": 1e-10, "nanometer": 1e-9,
    "micrometer": 1e-6, "millimeter": 1e-3, "centimeter": 1e-2, "decimeter": 1e-1,
    "inch": 0.0254, "meter": 1.0, "kilometer": 1e3,
}  # fmt: skip
_USUAL = ("femtometer", "picometer", "nanometer", "micrometer", "millimeter", "meter",
          "kilometer")  # fmt: skip
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")


def full_name(unit: str | None) -> str:
    r"""Return the name napari knows a unit by, from any usual spelling.

    ImageJ writes ``\u00B5m`` with the backslash.  An unknown unit is taken for
    pixels, since napari refuses names it does not know.
    """
    text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), unit or "").strip()
    return _FULL.get(text, _FULL.get(text.lower(), PIXEL))


def ome_symbol(unit: str) -> str | None:
    """Return the OME symbol of a unit, or None if it has none here."""
    return _OME.get(full_name(unit)) if unit in _FULL else None


def is_known(unit: str) -> bool:
    """Whether a spelling of a unit is one that files and napari share."""
    text = unit.strip()
    return text in _FULL or text.lower() in _FULL


def usual_length(step: float, unit: str) -> str:
    """Return the unit of length in which a step is a number from 1 to 1,000.

    The unit itself if it is none of length.
    """
    if unit not in _METERS:
        return unit
    meters = step * _METERS[unit]
    return max(
        (u for u in _USUAL if _METERS[u] <= meters * (1 + 1e-9)),
        key=_METERS.__getitem__,
        default=_USUAL[0],
    )


def converted(step: float, unit: str, to: str) -> float:
    """Return a step in another unit of length."""
    # By a whole number, so that 0.2 nm do not become 0.20000000000000004 nm.
    factor = _METERS[unit] / _METERS[to]
    return step * round(factor) if factor >= 1 else step / round(1 / factor)
