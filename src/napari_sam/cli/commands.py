"""What each command does; they return the exit code."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.cli.images import (
    check_files,
    chosen_plane,
    engine_of,
    objects,
    open_image,
    pixels_of,
    write_result,
)
from napari_sam.cli.report import say
from napari_sam.core.stopwatch import Stopwatch
from napari_sam.errors import FileFormatError, PromptError, SamError, SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from napari import Viewer

    from napari_sam.models import ModelSpec
    from napari_sam.types import Box, PointPrompt


def predict(options: argparse.Namespace) -> int:
    """Segment one object per box, or one from points."""
    from napari_sam.core.imaging import to_rgb
    from napari_sam.types import PromptSet

    points: tuple[PointPrompt, ...] = tuple(options.point)
    boxes: list[Box] = options.box
    if not points and not boxes:
        raise PromptError("There is no prompt; give --point R,C or --box R0,C0,R1,C1.")
    if points and len(boxes) > 1:
        raise PromptError(
            f"{len(points)} points with {len(boxes)} boxes are ambiguous; give the"
            " points with one box, or only boxes."
        )
    if not boxes and not any(point.positive for point in points):
        raise PromptError(
            "All points are off the object (:-); give one that is on it as well."
        )
    check_files(options)
    watch = Stopwatch()
    image = open_image(options)
    rgb = to_rgb(pixels_of(image, chosen_plane(image, options.plane)))
    _check_prompts(points, boxes, (rgb.shape[0], rgb.shape[1]))
    encoded = engine_of(options).encode(rgb)
    prompts = [PromptSet(points, box) for box in boxes] or [PromptSet(points)]
    labels = np.zeros(rgb.shape[:2], np.uint32)
    n_found = 0
    for number, prompt in enumerate(prompts, start=1):
        result = encoded.predict_prompts(prompt)
        mask = result.best
        labels[mask & (labels == 0)] = number
        area = int(np.count_nonzero(mask))
        n_found += area > 0
        answer = f"{area} pixels" if area else "nothing found"
        say(
            f"object {number}: {answer}, score {result.score:.2f}",
            quiet=options.quiet,
        )
    shown = None if options.preview is None else (rgb, labels)
    write_result(options, image, labels, shown)
    say(
        f"{objects(n_found)} in {watch.elapsed:.1f} s",
        quiet=options.quiet,
    )
    return 0


def _check_prompts(
    points: tuple[PointPrompt, ...], boxes: list[Box], shape: tuple[int, int]
) -> None:
    """Refuse, before the plane is encoded, what cannot be asked about it."""
    from napari_sam.models.sam1.prompts import tokens
    from napari_sam.types import Frame

    frame = Frame.fit(shape)
    if points:
        tokens(frame, [[(p.row, p.column) for p in points]], None, None)
    if boxes:
        tokens(frame, None, None, boxes)


def gui(options: argparse.Namespace) -> int:
    """Open napari with the plugin docked, on images or a project."""
    from napari_sam.io.images import one_line
    from napari_sam.io.project import is_project

    projects = [path for path in options.paths if is_project(path)]
    if len(projects) > 1:
        raise SettingsError(
            f"{len(projects)} projects are given, and a window has one; give one."
        )
    for path in options.paths:
        if not path.exists():
            raise FileFormatError(f"There is no file {path}; check the path.")
        if not path.is_file() and not path.is_dir():
            # Opening a pipe would wait for its writer, a device may never end.
            raise FileFormatError(
                f"{path} is a pipe or a device; save the image as a file first."
            )
    variables = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(v) for v in variables):
        raise SamError(
            "There is no display, as DISPLAY is not set; use the commands everything"
            " and predict here, or a computer with a screen."
        )
    try:
        import napari

        viewer = napari.Viewer()
    except ImportError as error:  # no Qt binding
        raise SamError(
            f"napari cannot open a window ({one_line(error)}); install it with"
            ' pip install "napari[all]".'
        ) from error
    try:
        if options.sample:
            viewer.open_sample("napari-sam", options.sample)
        for path in options.paths:
            if path not in projects:
                _open(viewer, path)
    except SamError:
        _close(viewer)
        raise
    _, dock = viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    try:
        for path in projects:
            dock.controller.projects.open(path)
    except SamError:
        _close(viewer)
        raise
    napari.run()
    return 0


def _open(viewer: Viewer, path: Path) -> None:
    """Open an image, or a folder of images, in napari."""
    from napari_sam.io.images import one_line

    try:
        viewer.open(path)
    except Exception as error:
        # Readers of any plugin fail in ways of their own.
        advice = "check the file"
        if path.is_dir():
            advice = (
                "it takes a folder for one stack, so give images of different sizes or"
                f" kinds by name, as in napari-sam gui {path / '*.tif'}"
            )
        raise FileFormatError(
            f"napari cannot open {path} ({one_line(error)}); {advice}."
        ) from error


def _close(viewer: Viewer) -> None:
    """Close a window, in which a layer may be that napari has added only in part."""
    # It fails where it takes such a layer out.
    with suppress(Exception):
        viewer.close()
    viewer.window.close()


def models(options: argparse.Namespace) -> int:
    """List the models, or remove or export one."""
    from napari_sam.cli.adapting import act_on_models
    from napari_sam.models import list_models, models_folder

    if act_on_models(options):
        return 0
    for spec in list_models():
        print(f"{spec.name:22} {' '.join(_about(spec))}")
    print(f"Weights of your own go into {models_folder()}.")
    return 0


def _about(spec: ModelSpec) -> Iterator[str]:
    """Yield sentences on a model."""
    yield spec.description.rstrip(".") + "."
    if spec.use_for:
        yield f"For {spec.use_for}."
    yield f"Licence: {spec.licence}."


def cache(options: argparse.Namespace) -> int:
    """Show or clear the stored embeddings."""
    from napari_sam.core.embeddings.store import EmbeddingStore

    store = EmbeddingStore()
    before = store.info()
    if options.action == "clear":
        store.clear()
        print(f"Removed {before.entries} embeddings from {before.folder}.")
    else:
        print(
            f"{before.entries} embeddings, {before.bytes / 1e6:.1f} MB,"
            f" in {before.folder}."
        )
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Print what to know when something is slow or does not work."""
    from napari_sam.cli.doctor import examine

    for name, finding in examine(options.model, options.device):
        print(f"{name:18} {finding}")
    return 0
