"""What each command does; they return the exit code."""

# ruff: noqa: T201 - printing is what a command does
from __future__ import annotations

import math
import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.cli.report import Report, say
from napari_sam.errors import FileFormatError, ImageError, PromptError, SamError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import numpy.typing as npt

    from napari_sam.core.engine import Engine
    from napari_sam.io import ImageFile
    from napari_sam.models import ModelSpec
    from napari_sam.types import Box, Plane, PointPrompt, RGBArray


def everything(options: argparse.Namespace) -> int:
    """Segment all objects of an image, a plane or a stack."""
    from napari_sam.api import iter_everything_stack
    from napari_sam.core.everything_settings import LARGEST_SHARE, EverythingSettings
    from napari_sam.io import read_image
    from napari_sam.types import Progress

    settings = EverythingSettings(
        prompts=options.prompts,
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.min_score,
        stability_score_thresh=options.min_stability,
        crop_n_layers=options.crop_layers,
    )
    _check_outputs(options)
    start = time.perf_counter()
    image = read_image(options.image)
    if options.all_planes:
        data, shape = image.data, image.shape
    else:
        plane = _chosen_plane(image, options.plane)
        data, shape = _pixels(image, plane), plane.shape(image.shape)
    engine = _engine(options)
    report = Report(quiet=options.quiet)
    labels = np.zeros(shape, np.uint32)
    best: tuple[Plane, int] | None = None
    count = n_planes = 0
    for step in iter_everything_stack(
        data, rgb=image.rgb, settings=settings, encode=engine.encode
    ):
        if isinstance(step, Progress):
            report(step)
            continue
        where, proposals = step
        kept = proposals.filter(
            min_area=options.min_area,
            max_area=options.max_area or LARGEST_SHARE * math.prod(proposals.shape),
        )
        visible = _renumbered(kept.to_labels(overlap=options.overlap), count)
        labels[where.slicer] = visible
        n = int(visible.max(initial=count)) - count
        if best is None or n > best[1]:
            best = where, n  # the plane with most objects is previewed
        count += n
        n_planes += 1
    report.close()
    _write(options, image, labels)
    if options.preview is not None and best is not None:
        from napari_sam.core.imaging import to_rgb
        from napari_sam.core.planes import read_plane

        pixels = to_rgb(read_plane(data, best[0], rgb=image.rgb))
        _preview(options, pixels, labels[best[0].slicer])
    planes = f" on {n_planes} planes" if n_planes > 1 else ""
    say(
        f"{_objects(count)}{planes} in {time.perf_counter() - start:.1f} s",
        quiet=options.quiet,
    )
    return 0


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _renumbered(labels: npt.NDArray[np.integer], start: int) -> npt.NDArray[np.uint32]:
    """Return labels without gaps that continue after ``start``."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0  # background
    present = np.flatnonzero(counts)
    table = np.zeros(len(counts), np.uint32)
    table[present] = np.arange(start + 1, start + 1 + len(present))
    renumbered: npt.NDArray[np.uint32] = table[labels]
    return renumbered


def predict(options: argparse.Namespace) -> int:
    """Segment one object per box, or one from points."""
    from napari_sam.core.imaging import to_rgb
    from napari_sam.io import read_image
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
    _check_outputs(options)
    start = time.perf_counter()
    image = read_image(options.image)
    rgb = to_rgb(_pixels(image, _chosen_plane(image, options.plane)))
    encoded = _engine(options).encode(rgb)
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
    _write(options, image, labels)
    if options.preview is not None:
        _preview(options, rgb, labels)
    say(
        f"{_objects(n_found)} in {time.perf_counter() - start:.1f} s",
        quiet=options.quiet,
    )
    return 0


def gui(options: argparse.Namespace) -> int:
    """Open napari with the plugin docked."""
    from napari_sam.io.images import one_line

    for path in options.paths:
        if not path.exists():
            raise FileFormatError(f"There is no file {path}; check the path.")
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
            viewer.open(path)
    except Exception as error:
        # Readers of any plugin fail in ways of their own.
        viewer.close()
        raise FileFormatError(
            f"napari cannot open the image ({one_line(error)}); check the file."
        ) from error
    viewer.window.add_plugin_dock_widget("napari-sam", "Segment Anything")
    napari.run()
    return 0


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
    from napari_sam.core.store import EmbeddingStore

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


def _engine(options: argparse.Namespace) -> Engine:
    from napari_sam.core.engine import Engine
    from napari_sam.core.store import EmbeddingStore
    from napari_sam.models import load_model

    model = load_model(options.model, device=options.device, dtype=options.dtype)
    if options.no_cache:
        return Engine(model, EmbeddingStore(ram_bytes=0, disk_bytes=0))
    return Engine(model, EmbeddingStore())


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it."""
    from napari_sam.io.labels import check_tiff_name
    from napari_sam.io.preview import check_preview_name

    check_tiff_name(options.out)
    if options.preview is not None:
        check_preview_name(options.preview)
    for path in (options.out, options.preview):
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise FileFormatError(f"There is no folder {path.parent}; make it first.")
        if path.is_dir():
            raise FileFormatError(f"{path} is a folder; give the name of a file.")
        if path.exists() and options.image.exists() and path.samefile(options.image):
            raise FileFormatError(f"{path} is the image itself; choose another name.")


def _chosen_plane(image: ImageFile, position: tuple[int, ...] | None) -> Plane:
    """Return the plane asked for, or the only one."""
    from napari_sam.types import Plane

    lead = image.shape[:-2]
    if position is None:
        if lead:
            example = ",".join(str(n // 2) for n in lead)
            raise ImageError(
                f"{image.name} is a stack of shape {image.shape} with the axes"
                f" {image.label_axes}; choose a plane, for example --plane {example},"
                " or segment everything with --all-planes."
            )
        position = ()
    if len(position) != len(lead) or any(
        not 0 <= i < n for i, n in zip(position, lead, strict=True)
    ):
        raise PromptError(
            f"The plane {','.join(map(str, position))} is not in {image.name}, whose"
            f" leading axes have the lengths {lead}; count from 0."
        )
    return Plane((len(lead), len(lead) + 1), (*position, None, None))


def _pixels(image: ImageFile, plane: Plane) -> npt.NDArray[np.generic]:
    from napari_sam.core.planes import read_plane

    return read_plane(image.data, plane, rgb=image.rgb)


def _write(
    options: argparse.Namespace, image: ImageFile, labels: npt.NDArray[np.uint32]
) -> None:
    from napari_sam.io import write_labels

    write_labels(options.out, labels, image)
    say(f"wrote {options.out}", quiet=options.quiet)


def _preview(
    options: argparse.Namespace, rgb: RGBArray, labels: npt.NDArray[np.uint32]
) -> None:
    from napari_sam.io import write_preview

    write_preview(options.preview, rgb, labels)
    say(f"wrote {options.preview}", quiet=options.quiet)
