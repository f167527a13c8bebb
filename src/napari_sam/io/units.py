"""Names of physical units in TIFF metadata and in napari."""

from __future__ import annotations

import re

from napari_sam.io.image_file import PIXEL

_NAMES = {
    "nanometer": ("nm", "nanometre", "nanometers", "nanometres"),
    "micrometer": (
        "µm", "μm", "um", "micron", "microns", "micrometre", "micrometers",
    ),
    "millimeter": ("mm", "millimetre", "millimeters"),
    "centimeter": ("cm", "centimetre", "centimeters"),
    "meter": ("m", "metre", "meters"),
    "inch": ("in", "inches"),
    "angstrom": ("Å", "Å"),
    "picometer": ("pm",),
    "second": ("s", "sec", "seconds"),
    "millisecond": ("ms", "msec"),
    "minute": ("min", "minutes"),
    "hour": ("h", "hours"),
    PIXEL: ("pixels", "px", ""),
}  # fmt: skip
_FULL = {alias: name for name, aliases in _NAMES.items() for alias in (name, *aliases)}
_OME = {
    "nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm",
    "meter": "m", "inch": "in", "angstrom": "Å", "picometer": "pm", "second": "s",
    "millisecond": "ms", "minute": "min", "hour": "h", PIXEL: "pixel",
}  # fmt: skip
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
