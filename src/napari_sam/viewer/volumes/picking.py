"""Clicking an object in 3-D display: it becomes the current one, and is measured."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.core.volumes.measure import iter_measure
from napari_sam.types import Plane
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.coords import displayed_axes, world_to_data
from napari_sam.viewer.prompting.pointer import STILL, followed

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.core.volumes.measure import Measures
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.labels.target import LabelsTarget
    from napari_sam.viewer.prompting.annotator import Annotator

MEASURE_SLOT = "measure"


class ObjectPicker:
    """Selects the object under a click in 3-D display.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    annotator : Annotator
        Makes an object current.

    Attributes
    ----------
    status : Signal(str)
        What was picked, and how large it is.
    """

    status = Signal(str)

    def __init__(self, context: Context, annotator: Annotator) -> None:
        self._context = context
        self._annotator = annotator
        context.viewer.mouse_drag_callbacks.append(self._on_press)

    def close(self) -> None:
        """Stop listening."""
        callbacks = self._context.viewer.mouse_drag_callbacks
        if self._on_press in callbacks:
            callbacks.remove(self._on_press)

    def _on_press(self, viewer: object, event: Any) -> Generator[None, None, None]:
        del viewer
        target = self._context.target
        if self._context.viewer.dims.ndisplay != 3 or target is None:
            return
        # A drag turns the view.
        if (yield from followed(event)) <= STILL:
            self._pick(target, event)

    def _pick(self, target: LabelsTarget, event: Any) -> None:
        label = target.layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=list(event.dims_displayed),
            world=True,
        )
        if not isinstance(label, int | np.integer) or label <= 0:
            self.status.emit("There is no object under the pointer.")
            return
        self._annotator.select_object(int(label))
        self._measure(target, int(label))

    def _measure(self, target: LabelsTarget, label: int) -> None:
        dims, layer = self._context.viewer.dims, target.layer
        axis, *displayed = displayed_axes(dims, layer)
        point = np.round(world_to_data(dims, layer, dims.point)).astype(int)
        index = tuple(
            None if a in displayed else int(np.clip(p, 0, n - 1))
            for a, (p, n) in enumerate(zip(point, layer.data.shape, strict=True))
        )
        plane = Plane((displayed[0], displayed[1]), index)
        self._context.runner.submit(
            Job(
                partial(iter_measure, layer.data, plane, axis, label, layer.scale),
                priority=Priority.FOLLOW,
                slot=MEASURE_SLOT,
                on_result=partial(self._tell, _unit(layer.units, (axis, *displayed))),
                on_error=self._context.log_error,
            )
        )

    def _tell(self, unit: str, found: Measures | None) -> None:
        if found is not None:
            self.status.emit(f"{said(found, unit)}{self._annotator.aside_note}")


def said(found: Measures, unit: str) -> str:
    """Return the size of an object in words."""
    where = (
        f"slice {found.first}"
        if found.first == found.last
        else f"slices {found.first} to {found.last}"
    )
    text = f"Object {found.label}: {where}, {found.voxels:,} voxels"
    if unit:
        text += f", volume {found.volume:.4g} {unit}³"
        if not math.isnan(found.surface):
            text += f", surface {found.surface:.4g} {unit}²"
    return f"{text}.  Switch to 2-D to correct it"


def _unit(units: Any, axes: tuple[int, ...]) -> str:
    """Return the unit that some axes have in common; empty for pixels, or none."""
    if units is None:
        return ""
    names = {f"{units[a]:~}" for a in axes}
    (name,) = names if len(names) == 1 else ("",)
    return "" if name in ("px", "pixel", "") else name
