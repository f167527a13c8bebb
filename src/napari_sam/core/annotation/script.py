"""Python source that makes the same labels: what "copy as script" copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.prompts import sample_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.core.annotation.prompts import ShapeItem
    from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords

_HEADER = '''"""Labels of {name}, made again by asking the same prompts."""

import napari_sam as ns
from napari.components import ViewerModel

image = ns.read_image({path!r})  # or any array of shape {shape}
viewer = ViewerModel()  # or napari.Viewer()
layer = viewer.add_image(image.data, rgb=image.rgb, name="image")
session = ns.annotate(viewer, layer{model})
'''


def make_script(
    records: ObjectRecords,
    *,
    image: str | None,
    model: str | None,
    settings: dict[str, Any],
    shape: tuple[int, ...],
) -> str:
    """Return a script that asks the prompts of all objects again.

    Parameters
    ----------
    records : ObjectRecords
        Of the objects, in the order in which they are written.
    image : str or None
        Path of the image.
    model : str or None
        Name of the model.
    settings : dict
        Plain values of what the user had chosen; only the overlap policy matters.
    shape : tuple of int
        Of the labels.
    """
    lines = [
        _HEADER.format(
            name=image or "an image",
            path=image or "image.tif",
            shape=shape,
            model="" if model is None else f", model={model!r}",
        )
    ]
    policy = settings.get("policy")
    if policy is not None and policy != "keep":
        lines.append(
            "from napari_sam.core.masks import OverlapPolicy\n\n"
            "session.controller.change_settings("
            f"policy=OverlapPolicy({policy!r}))\n"
        )
    axes = (len(shape) - 2, len(shape) - 1)
    unasked = []
    for record in records:
        if record.items.is_empty:
            unasked.append(record.label)
            continue
        lines.append(f"\n# object {record.label}\n")
        for wanted, call in _calls(record, shape):
            if wanted != axes:
                order = [a for a in range(len(shape)) if a not in wanted]
                lines.append(f"viewer.dims.order = {(*order, *wanted)}\n")
                axes = wanted
            lines.append(call + "\n")
        lines.append("session.accept()\n")
    if unasked:
        numbers = ", ".join(map(str, unasked[:20])) + (" ..." * (len(unasked) > 20))
        lines.append(f"\n# found by everything mode, without prompts: {numbers}\n")
    lines.append("\nlabels = session.labels.data\nsession.close()\n")
    return "".join(lines)


def _calls(
    record: ObjectRecord, size: tuple[int, ...]
) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the axes on screen and the call for each prompt of an object."""
    for shape in record.items.shapes:
        for call in _shape_calls(shape, size):
            yield shape.axes, call
    for point in record.items.points:
        yield point.axes, _point(point.position, point.positive)


def _shape_calls(shape: ShapeItem, size: tuple[int, ...]) -> Iterator[str]:
    vertices = shape.vertices
    if shape.kind in ("line", "path"):
        fixed = vertices[0].copy()
        for row, column in sample_path(vertices[:, list(shape.axes)]):
            at = fixed.copy()
            at[list(shape.axes)] = row, column
            yield _point(at, shape.positive)
    elif not shape.positive:
        yield _point(vertices.mean(axis=0), False)
    elif shape.kind == "rectangle":
        # Cut at the border, as the model does: a box cannot begin beyond it.
        vertices = np.clip(vertices, -0.5, np.subtract(size, 0.5))
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        yield f"session.add_box({_tuple(low)}, {_tuple(high)})"
    else:
        outline = _ellipse(vertices) if shape.kind == "ellipse" else vertices
        rows = ", ".join(_tuple(v) for v in _begun_inside(outline, size))
        yield f"session.add_outline([{rows}])"


def _ellipse(corners: Any) -> Any:
    """Return the outline that prompts of an ellipse are filled from."""
    if len(corners) != 4:
        return corners
    center = corners.mean(axis=0)
    half_a, half_b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    return center + np.cos(angle) * half_a + np.sin(angle) * half_b


def _begun_inside(outline: Any, size: tuple[int, ...]) -> Any:
    """Return an outline from one of its vertices in the image on.

    Drawn by hand it may begin outside.  One that is around all of the image is cut.
    """
    inside = ((outline >= -0.5) & (outline < np.subtract(size, 0.5))).all(axis=1)
    if not inside.any():
        return np.clip(outline, 0, np.subtract(size, 1))
    return np.roll(outline, -int(inside.argmax()), axis=0)


def _point(position: Any, positive: bool) -> str:
    end = "" if positive else ", positive=False"
    return f"session.add_point({_tuple(position)}{end})"


def _tuple(values: Any) -> str:
    return "(" + ", ".join(repr(float(v)) for v in values) + ")"
