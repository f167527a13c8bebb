"""Physical sizes that TIFF files tell: OME, ImageJ and resolution tags."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

from napari_sam.io.units import full_name

_CENTIMETER = 3
Sizes = dict[str, tuple[float, str]]


def physical_sizes(tif: Any) -> Sizes:
    """Return step and unit of the axes whose physical size the file tells."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_sizes(tif.ome_metadata)
    if tif.is_imagej:
        return _imagej_sizes(tif)
    tags = tif.pages[0].tags
    # Inches are what a printer would use, such as the 72 dpi that any program
    # writes; only microscopes write pixels per centimetre.
    if tags.valueof("ResolutionUnit", 0) != _CENTIMETER:
        return {}
    steps = _resolution(tif)
    return {a: (s * 1e4, "micrometer") for a, s in steps.items()}


def _ome_sizes(xml: str) -> Sizes:
    pixels = ET.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return {}
    found: Sizes = {}
    for axis, name, default in (
        *((a, f"PhysicalSize{a}", "µm") for a in "XYZ"),
        ("T", "TimeIncrement", "s"),
    ):
        step = _positive(pixels.get(name))
        if step is not None:
            found[axis] = (step, full_name(pixels.get(f"{name}Unit", default)))
    return found


def _imagej_sizes(tif: Any) -> Sizes:
    meta = tif.imagej_metadata or {}
    unit = full_name(meta.get("unit"))
    found: Sizes = {a: (s, unit) for a, s in _resolution(tif).items()}
    if "unit" not in meta and tif.pages[0].tags.valueof("ResolutionUnit", 0) > 1:
        found = {}
    spacing = _positive(meta.get("spacing"))
    if spacing is not None:
        found["Z"] = (spacing, unit)
    interval = _positive(meta.get("finterval"))
    if interval is not None:
        found["T"] = (interval, full_name(meta.get("tunit", "s")))
    return found


def _resolution(tif: Any) -> dict[str, float]:
    """Return pixel sizes from the resolution tags, in their unit."""
    steps = {}
    for axis in "XY":
        top, bottom = tif.pages[0].tags.valueof(f"{axis}Resolution", (0, 0))
        if top > 0 and bottom > 0:
            steps[axis] = bottom / top
    return steps


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
