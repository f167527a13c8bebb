"""The command that follows labeled objects through a stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.images import engine_of, objects, open_image
from napari_sam.cli.options import (
    USE_MODEL,
    add_common,
    add_settings,
    given_settings,
    natural,
)
from napari_sam.cli.outputs import check_outputs
from napari_sam.cli.report import Report, say
from napari_sam.core.stopwatch import Stopwatch
from napari_sam.errors import LabelsError, PromptError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.volumes.slices import Slices
    from napari_sam.io import ImageFile
    from napari_sam.types import MaskCrop

    Seeds = dict[int, dict[int, MaskCrop]]


def add_propagate(commands: Any) -> None:
    """Add the command to the parser's commands."""
    commands.add_parser(
        "propagate",
        help="follow labeled objects through a stack or a time-lapse",
        description="Follows every object of SEED through STACK. Slices in which SEED"
        " has a label are kept as they are, and never lose a pixel to another label."
        " OUT has the stack's shape and SEED's numbers.",
        fill=_add_options,
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    from napari_sam.core.volumes.propagation import PropagationSettings

    parser.add_argument("image", type=Path, metavar="STACK", help="of three axes")
    parser.add_argument(
        "--seed",
        type=Path,
        required=True,
        metavar="MASKS",
        help="labels of the stack's shape, or of one slice with --at",
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="labels, .tif"
    )
    parser.add_argument(
        "--at", type=natural, metavar="Z", help="the slice that MASKS is of, from 0"
    )
    parser.add_argument(
        "--limits",
        type=natural,
        nargs=2,
        metavar=("A", "B"),
        help="first slice, and one past the last (default: the whole stack)",
    )
    parser.add_argument(
        "--axis", type=int, default=0, metavar="N", help="to follow along (default: 0)"
    )
    add_settings(
        parser,
        PropagationSettings,
        ("time", "find_ends"),
        flags={"find_ends": "--to-limits"},
        texts={
            "time": "the axis is time",
            "find_ends": "do not look for ends; follow as long as anything is found",
        },
    )
    add_common(parser, "--overwrite", *USE_MODEL)
    parser.set_defaults(run=run_propagate)


def run_propagate(options: argparse.Namespace) -> int:
    """Follow every label of a file through a stack."""
    from napari_sam.core.volumes.claims import iter_propagate_objects
    from napari_sam.core.volumes.engine import PlaneEngine
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.core.volumes.propagation import PropagationSettings
    from napari_sam.core.volumes.slices import Slices
    from napari_sam.io import write_labels
    from napari_sam.io.labels import check_tiff_name
    from napari_sam.models import find_model
    from napari_sam.types import Plane

    check_tiff_name(options.out)
    check_outputs(
        [options.out], inputs=[options.image, options.seed], overwrite=options.overwrite
    )
    find_model(options.model)
    watch = Stopwatch()
    image = open_image(options)
    slices = Slices.of(image.data, options.axis, image.rgb, options.limits)
    labels = _seeds(options, image, slices)
    prompted = _prompted(labels, slices)
    slices = slices.with_contrast({z for seeds in prompted.values() for z in seeds})
    engine = engine_of(options)

    def encode(plane: Plane) -> Generator[None, None, EncodedPlane]:
        return (yield from engine.iter_encode(slices.rgb_of(plane.index[0] or 0)))

    settings = PropagationSettings(**given_settings(options, PropagationSettings))
    first = Plane((1, 2), (0, None, None))
    followed = {
        label: Followed(first, 0, slices.limits, settings, seeds)
        for label, seeds in prompted.items()
    }
    out = np.moveaxis(labels, slices.axis, 0)
    sure: dict[int, list[tuple[float, int]]] = {label: [] for label in prompted}
    progress = _Progress(prompted, slices.limits, quiet=options.quiet)
    try:
        for step in iter_propagate_objects(PlaneEngine(encode), followed, slices.size):
            if step is None or step[1].is_ghost:
                continue
            label, one = step
            part = out[one.position][one.mask.region.slices]
            part[one.mask.mask & (part == 0)] = label
            sure[label].append((one.confidence, one.position))
            progress(label)
    finally:
        progress.close()
    write_labels(options.out, labels, image)
    say(f"wrote {options.out}", quiet=options.quiet)
    for label, known in sure.items():
        if known:
            least, position = min(known)
            say(
                f"label {label}: {len(known)} slices propagated, least sure of slice"
                f" {position} ({least:.2f})",
                quiet=options.quiet,
            )
    say(
        f"{objects(len(prompted))} in {watch.elapsed:.1f} s",
        quiet=options.quiet,
    )
    return 0


def _seeds(
    options: argparse.Namespace, image: ImageFile, slices: Slices
) -> npt.NDArray[np.uint32]:
    """Return labels of the stack's shape, only those of the seeds filled in."""
    from napari_sam.io.label_files import read_labels

    given = read_labels(options.seed).data
    if given.min(initial=0) < 0 or given.max(initial=0) > np.iinfo(np.uint32).max:
        raise LabelsError(
            f"{options.seed} has labels from {given.min()} to {given.max()}; give"
            " labels from 0 to 4294967295."
        )
    if options.at is None:
        if given.shape != slices.shape:
            raise LabelsError(
                f"{options.seed} has shape {given.shape} and {image.name}"
                f" {slices.shape}; give labels of the same shape, or of one slice with"
                " --at."
            )
        return given.astype(np.uint32)
    if given.shape != slices.size:
        raise LabelsError(
            f"{options.seed} has shape {given.shape} and a slice of {image.name}"
            f" {slices.size}; give labels of the same size."
        )
    slices.check_position(options.at)
    labels = np.zeros(slices.shape, np.uint32)
    np.moveaxis(labels, slices.axis, 0)[options.at] = given
    return labels


def _prompted(labels: npt.NDArray[np.uint32], slices: Slices) -> Seeds:
    """Return the prompted slices of each label."""
    from napari_sam.types import MaskCrop

    found: Seeds = {}
    for position, plane in enumerate(np.moveaxis(labels, slices.axis, 0)):
        for label in np.unique(plane[plane > 0]):
            mask = plane == label
            slices.check_position(position)
            if mask.all():
                raise PromptError(
                    f"Label {label} covers all of slice {position}; mark objects only."
                )
            found.setdefault(int(label), {})[position] = MaskCrop.from_full(mask)
    if not found:
        raise PromptError("The seeds have no label; mark one object at least.")
    return dict(sorted(found.items()))


class _Progress:
    """Slices of objects on stderr; how many there will be is open until their ends."""

    def __init__(
        self, prompted: Seeds, limits: tuple[int, int], *, quiet: bool
    ) -> None:
        self._labels = list(prompted)
        self._each = limits[1] - limits[0]
        self._report = Report(quiet=quiet)
        self._done = 0
        self._label: int | None = None

    def __call__(self, label: int) -> None:
        from napari_sam.types import Progress

        if label != self._label:
            self._label, self._done = label, 0
        self._done += 1
        number = self._labels.index(label)
        self._report(
            Progress(
                number * self._each + min(self._done, self._each),
                len(self._labels) * self._each,
                f"label {label}: slice {self._done}",
            )
        )

    def close(self) -> None:
        """Remove the line of progress."""
        self._report.close()
