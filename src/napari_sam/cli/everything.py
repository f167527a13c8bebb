"""The command that segments all objects, and keeps what it has on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.finished import FinishedPlanes
from napari_sam.cli.images import (
    check_files,
    chosen_plane,
    engine_of,
    objects,
    open_image,
    pixels_of,
    remembering,
    write_result,
)
from napari_sam.cli.linking import (
    LINK_FLAGS,
    add_link_options,
    check_axes,
    grown_planes,
    link_settings,
    linked_planes,
    summary,
)
from napari_sam.cli.options import (
    add_files,
    add_settings,
    flag_of,
    given_settings,
)
from napari_sam.cli.report import Report, say
from napari_sam.core.steps import finish
from napari_sam.core.stopwatch import Stopwatch
from napari_sam.errors import SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_sam.core.embeddings.engine import Engine
    from napari_sam.core.everything.settings import EverythingSettings
    from napari_sam.core.volumes.linked import LinkSettings
    from napari_sam.types import Plane, Progress, RGBArray

    Labels = npt.NDArray[np.uint32]


def add_everything(commands: Any) -> None:
    """Add the command to those of the main parser."""
    commands.add_parser(
        "everything",
        help="segment all objects of an image or stack",
        description="Segment all objects of an image, of one plane of a stack, or of"
        " every plane. Labels are numbered through the stack; with --link or --time the"
        " objects of neighboring planes are linked and share one number. With"
        " --all-planes, finished planes are kept beside OUT until it is written; after"
        " Ctrl-C or a failure the same command goes on there.",
        fill=_add_options,
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    from napari_sam.core.everything.settings import EverythingSettings

    add_files(parser)
    parser.add_argument(
        "--all-planes", action="store_true", help="every plane of a stack, one by one"
    )
    add_settings(
        parser,
        EverythingSettings,
        (
            "prompts",
            "points_per_side",
            "pred_iou_thresh",
            "stability_score_thresh",
            "crop_n_layers",
            "object_size",
        ),
        flags={
            "pred_iou_thresh": "--min-score",
            "stability_score_thresh": "--min-stability",
            "crop_n_layers": "--crop-layers",
        },
    )
    parser.add_argument(
        "--overlap",
        choices=["score", "area"],
        default="area",
        help="who gets pixels that masks share: the best-scored, or the smallest"
        " (default)",
    )
    parser.add_argument(
        "--min-area", type=float, metavar="PIXELS", help="smaller objects are left out"
    )
    parser.add_argument(
        "--max-area",
        type=float,
        metavar="PIXELS",
        help="larger objects are left out (default: 40 %% of the plane)",
    )
    parser.add_argument(
        "--link",
        action="store_true",
        help="link the objects of all planes along z, for each time point",
    )
    parser.add_argument(
        "--no-grow",
        action="store_true",
        help="with --link, do not propagate objects into slices in which they were not"
        " found",
    )
    add_link_options(parser, is_automatic=True)
    parser.set_defaults(run=run_everything)


def run_everything(options: argparse.Namespace) -> int:
    """Segment all objects of an image, a plane or a stack."""
    from napari_sam.api import leading_planes
    from napari_sam.core.imaging import to_rgb

    linking = _linking(options)
    settings = _settings(options)
    check_files(options)
    watch = Stopwatch()
    image = open_image(options)
    if options.all_planes:
        shape = image.shape
        planes = leading_planes(shape)
        if linking is not None:
            check_axes(shape, image.label_axes, along_time=linking.time)
    else:
        planes = [chosen_plane(image, options.plane)]
        shape = planes[0].shape(image.shape)
    is_stack = options.all_planes and len(planes) > 1

    def read(plane: Plane) -> RGBArray:
        return to_rgb(pixels_of(image, plane))

    read(planes[0])  # that it can be read and shown is known before the model loads
    search = _Search(options, settings, engine_of(options), n_planes=len(planes))
    finished = FinishedPlanes(options.out, search.recipe) if is_stack else None
    labels = np.zeros(shape, np.uint32)
    best: tuple[Plane, int] | None = None
    count = 0
    try:
        for plane in planes:
            found = _found(plane, read, search, finished)
            visible = _renumbered(found, count)
            where = plane.slicer if options.all_planes else ...
            labels[where] = visible
            n = int(visible.max(initial=count)) - count
            if best is None or n > best[1]:
                best = plane, n  # the plane with most objects is previewed
            count += n
        search.close()
        if linking is not None:
            linked = linked_planes(labels, linking, Report(quiet=options.quiet))
            labels, told = linked.labels, summary(linked, linking)
            if not linking.time and not options.no_grow:
                # Slices are asked for again and again: in memory at least.
                engine = remembering(search.engine, options)
                count = grown_planes(
                    labels,
                    lambda at: engine.iter_encode(read(planes[at])),
                    Report(quiet=options.quiet),
                )
                told += f", grown into {count} slices"
        else:
            told = objects(count)
        shown = None
        if options.preview is not None and best is not None:
            where = best[0].slicer if options.all_planes else ...
            shown = read(best[0]), labels[where]
        write_result(options, image, labels, shown)
    except BaseException as error:
        search.close()
        if finished is not None and search.n_done:
            what = "plane is" if search.n_done == 1 else "planes are"
            error.add_note(
                f"{search.n_done} finished {what} kept in {finished.folder}; the same"
                " command goes on from there."
            )
        raise
    if finished is not None:
        finished.remove()
    on = f" on {len(planes)} planes" if len(planes) > 1 else ""
    say(
        f"{told}{on} in {watch.elapsed:.1f} s",
        quiet=options.quiet,
    )
    return 0


def _linking(options: argparse.Namespace) -> LinkSettings | None:
    """Return how planes are linked, if they are."""
    from napari_sam.core.volumes.linked import LinkSettings

    given = given_settings(options, LinkSettings)
    if not (options.link or given.get("time")):
        flags = [LINK_FLAGS.get(name, flag_of(name)) for name in given]
        for flag in [*flags, *["--no-grow"] * options.no_grow]:
            raise SettingsError(f"{flag} is about linking; add --link or --time.")
        return None
    if options.plane is not None:
        raise SettingsError(
            "--plane asks for one plane, and linking needs all; give one of them."
        )
    options.all_planes = True
    return link_settings(options, is_automatic=True)


def _settings(options: argparse.Namespace) -> EverythingSettings:
    from napari_sam.core.everything.settings import EverythingSettings

    if options.all_planes and options.plane is not None:
        raise SettingsError(
            "--plane asks for one plane and --all-planes for all; give one of them."
        )
    low, high = options.min_area, options.max_area
    for name, area in (("--min-area", low), ("--max-area", high)):
        if area is not None and not area >= 0:
            raise SettingsError(f"{name} is {area:g}; give a number of pixels from 0.")
    if low is not None and high is not None and low > high:
        raise SettingsError(
            f"--min-area {low:g} is above --max-area {high:g}, so nothing fits; swap"
            " them."
        )
    return EverythingSettings(**given_settings(options, EverythingSettings))


class _Search:
    """Everything mode on one plane after another, with its progress on stderr."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: EverythingSettings,
        engine: Engine,
        *,
        n_planes: int,
    ) -> None:
        self._options = options
        self._settings = settings
        self.engine = engine
        self._n_planes = n_planes
        self._report = Report(quiet=options.quiet)
        self.n_done = 0
        self.n_reused = 0

    @property
    def recipe(self) -> str:
        """All that decides which labels a plane gets, but its pixels."""
        from napari_sam.core.imaging import PREPROCESSING_VERSION

        o, model = self._options, self.engine.model
        return (
            f"1 {PREPROCESSING_VERSION} {model.fingerprint} {model.device} {o.dtype}"
            f" {self._settings} {o.min_area} {o.max_area} {o.overlap}"
        )

    def __call__(self, rgb: RGBArray) -> Labels:
        """Return the labels of a plane."""
        from napari_sam.core.everything.search import iter_everything

        steps = iter_everything(rgb, self.engine.encode, self._settings)
        proposals = finish(steps, self._show)
        o = self._options
        kept = proposals.filter(min_area=o.min_area, max_area=o.max_area)
        labels: Labels = kept.to_labels(overlap=self._options.overlap).astype(np.uint32)
        return labels

    def reuse(self) -> None:
        """Count a plane that an earlier run has finished."""
        self.n_done += 1
        self.n_reused += 1

    def done(self) -> None:
        """Count a plane."""
        self.n_done += 1

    def announce(self) -> None:
        """Say once, before the first plane to do, what an earlier run did."""
        if self.n_reused and self.n_done == self.n_reused:
            say(
                f"continuing from plane {self.n_done + 1} of {self._n_planes}",
                quiet=self._options.quiet,
            )

    def close(self) -> None:
        """Remove the line of progress."""
        self._report.close()

    def _show(self, step: Progress) -> None:
        from napari_sam.types import Progress

        if self._n_planes > 1:
            # As if every plane had as many points as this one.
            step = Progress(
                (self.n_done - self.n_reused) * step.total + step.done,
                (self._n_planes - self.n_reused) * step.total,
                f"plane {self.n_done + 1} of {self._n_planes}: {step.text}",
            )
        self._report(step)


def _found(
    plane: Plane,
    read: Callable[[Plane], RGBArray],
    search: _Search,
    finished: FinishedPlanes | None,
) -> Labels:
    """Return the labels of a plane, from an earlier run if it did this plane."""
    rgb = read(plane)
    if finished is None:
        return search(rgb)
    key = finished.key(rgb)
    known = finished.get(key, rgb.shape[:2])
    if known is not None:
        search.reuse()
        return known
    search.announce()
    labels = search(rgb)
    finished.keep(key, labels)
    search.done()
    return labels


def _renumbered(labels: npt.NDArray[np.integer], start: int) -> Labels:
    """Return labels without gaps that continue after ``start``."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0  # background
    present = np.flatnonzero(counts)
    table = np.zeros(len(counts), np.uint32)
    table[present] = np.arange(start + 1, start + 1 + len(present))
    renumbered: Labels = table[labels]
    return renumbered
