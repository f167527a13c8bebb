"""The command that links the objects of slices or frames, and exports tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.images import objects
from napari_sam.cli.options import (
    add_common,
    add_settings,
    given_settings,
)
from napari_sam.cli.outputs import check_outputs
from napari_sam.cli.report import Report, say
from napari_sam.core.stopwatch import Stopwatch
from napari_sam.errors import LabelsError, SettingsError

if TYPE_CHECKING:
    import argparse

    import numpy.typing as npt

    from napari_sam.core.volumes.linked import Linked, LinkedObject, LinkSettings
    from napari_sam.core.volumes.propagation import EncodeAt
    from napari_sam.io import ImageFile


def add_link(commands: Any) -> None:
    """Add the command ``link``."""
    commands.add_parser(
        "link",
        help="link labels of single slices or frames into objects or tracks",
        description="Give each object of a stack of label images, in which every slice"
        " is numbered for itself, one number through the stack: along z, for each time"
        " point, or with --time along time, where divisions are looked for.",
        fill=_add_options,
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, metavar="LABELS", help=".tif or .zarr")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="labels, .tif"
    )
    add_link_options(parser)
    parser.add_argument(
        "--ctc",
        type=Path,
        metavar="FOLDER",
        help="also write the tracks in the form of the Cell Tracking Challenge",
    )
    parser.add_argument(
        "--geff",
        type=Path,
        metavar="FOLDER",
        help="also write the tracks as GEFF; needs napari-sam[tracks]",
    )
    add_common(parser, "--overwrite", "--quiet")
    parser.set_defaults(run=run_link)


MIN_EXTENT = 2
"""Of what everything mode finds along z, see docs/linking.md."""
LINK_FLAGS = {"split": "--no-split", "divisions": "--no-divisions"}
"""Options that are not called as the settings of linking are."""


def add_link_options(
    parser: argparse.ArgumentParser, *, is_automatic: bool = False
) -> None:
    """Add along which axis objects are linked, and how.

    Parameters
    ----------
    parser : ArgumentParser
        Gets them.
    is_automatic : bool
        Whether everything mode finds what is linked.
    """
    from napari_sam.core.volumes.linked import LinkSettings

    names = {"time", "min_iou", "gap", "min_extent", "split", "divisions"}
    texts = {
        "split": "along z, do not cut objects where they are narrow",
        "divisions": "along time, look for no divisions",
    }
    if is_automatic:
        names.remove("divisions")
        texts["min_extent"] = (
            "objects through fewer slices are left out, and counted (default:"
            f" {MIN_EXTENT} along z, 1 along time)"
        )
    add_settings(parser, LinkSettings, names, flags=LINK_FLAGS, texts=texts)


def link_settings(
    options: argparse.Namespace, *, is_automatic: bool = False
) -> LinkSettings:
    """Return what the options say.

    Parameters
    ----------
    options : Namespace
        Those of `add_link_options`.
    is_automatic : bool
        As there.

    Raises
    ------
    SettingsError
        If a number is outside its range.
    """
    from napari_sam.core.volumes.linked import LinkSettings

    given = given_settings(options, LinkSettings)
    if is_automatic and not given.get("time"):
        given.setdefault("min_extent", MIN_EXTENT)
    return LinkSettings(**given)


def check_axes(shape: tuple[int, ...], axes: str, *, along_time: bool) -> None:
    """Refuse what has no axis to link along.

    Parameters
    ----------
    shape : tuple of int
        Of the labels.
    axes : str
        A letter for each axis, ``Q`` if it is not known.
    along_time : bool
        Along time, or along z.

    Raises
    ------
    LabelsError
        If there are channels, or not enough axes or slices.
    """
    lead = shape[:-2]
    if any(a.upper() == "C" and n > 1 for a, n in zip(axes, shape, strict=False)):
        raise LabelsError(
            f"The axes {axes.upper()} of shape {shape} hold channels, which are not"
            " linked; write one channel."
        )
    at = 0 if along_time else -1
    if not lead or lead[at] < 2 or len(lead) > 2:
        raise LabelsError(
            f"Labels of shape {shape} have no {'time' if along_time else 'z'} to link"
            " along; pass a stack of two or more planes, or time points of such."
        )
    if not along_time and len(axes) == len(shape) and axes[len(lead) - 1] in "Tt":
        raise LabelsError(
            f"The axes are {axes.upper()}, so planes follow each other in time; add"
            " --time."
        )


def remark_on(labels: npt.NDArray[Any], name: str) -> str:
    """Return what is to be said of labels that are rather an image; empty if nothing.

    Parameters
    ----------
    labels : integer array (..., H, W)
        Three of its planes are looked at.
    name : str
        Of the file.
    """
    from napari_sam.core.volumes.label_stack import Pieces

    planes = labels.reshape(-1, *labels.shape[-2:])
    if labels.dtype.kind not in "iu" or not planes.size or planes.min() < 0:
        return ""
    for index in sorted({0, len(planes) // 2, len(planes) - 1}):
        found = Pieces.of(planes[index])
        if found.are_of_an_image:
            return (
                f"warning: {name} looks like an image, not like labels: the"
                f" {found.values} values of plane {index} are in {found.pieces} pieces,"
                " most of one pixel; segment it first, with napari-sam everything."
            )
    return ""


def linked_stack(
    labels: npt.NDArray[Any], settings: LinkSettings, report: Report
) -> Linked:
    """Link labels along time, or along z at every time point.

    Parameters
    ----------
    labels : integer array (Z, H, W) or (T, Z, H, W), or (T, H, W) along time
        Numbered in each plane for itself; along time in each volume.
    settings : LinkSettings
        What is linked with what.
    report : Report
        Is told the progress.

    Returns
    -------
    Linked
        Objects of several time points together along z.
    """
    from napari_sam.core.steps import finish
    from napari_sam.core.volumes.label_stack import smallest_dtype
    from napari_sam.core.volumes.linked import Linked
    from napari_sam.core.volumes.linking import iter_link

    if settings.time or labels.ndim == 3:
        return finish(iter_link(labels, settings), report)
    parts = [finish(iter_link(volume, settings), report) for volume in labels]
    count = sum(len(part.objects) for part in parts)
    joined = np.zeros(labels.shape, smallest_dtype(count, labels.dtype))
    every: list[LinkedObject] = []
    for index, part in enumerate(parts):
        before = len(every)
        ids = part.labels.astype(joined.dtype)
        joined[index] = np.where(ids > 0, ids + joined.dtype.type(before), 0)
        every += [replace(o, id=o.id + before) for o in part.objects]
    left_out = sum(part.left_out for part in parts)
    return Linked(joined, tuple(every), left_out=left_out)


def linked_planes(
    labels: npt.NDArray[Any], settings: LinkSettings, report: Report
) -> Linked:
    """Link what was found in single planes: along z, and then along time if asked.

    Parameters
    ----------
    labels, settings, report
        As for `linked_stack`; every plane is numbered for itself.
    """
    if settings.time and labels.ndim == 4:
        volumes = linked_stack(
            labels, replace(settings, time=False, min_iou=None, min_extent=1), report
        )
        labels = volumes.labels
    return linked_stack(labels, settings, report)


def grown_planes(labels: npt.NDArray[Any], encode: EncodeAt, report: Report) -> int:
    """Grow linked objects along z, in place.

    Parameters
    ----------
    labels : integer array (Z, H, W) or (T, Z, H, W)
        With ids through z.
    encode : callable
        Encodes a plane, by its number among all.
    report : Report
        Is told the progress.

    Returns
    -------
    int
        How many slices objects have grown into.
    """
    from napari_sam.core.volumes.growing import GrownSlice, iter_grow, write_grown

    count = 0
    volumes = labels[None] if labels.ndim == 3 else labels
    for number, volume in enumerate(volumes):
        first = number * len(volume)
        steps = iter_grow(lambda z, first=first: encode(first + z), volume.copy())  # type: ignore[misc]
        for step in steps:
            if isinstance(step, GrownSlice):
                write_grown(volume, [step])
                count += 1
            elif step is not None:
                report(step)
    report.close()
    return count


def summary(linked: Linked, settings: LinkSettings) -> str:
    """Return what came of it, in words."""
    text = objects(len(linked.objects))
    if settings.time:
        count = len(set(linked.graph.values()))
        text += f", {count} division{'s' * (count != 1)}"
    if linked.left_out:
        text += (
            f" ({linked.left_out} through fewer than {settings.min_extent}"
            f" {'frames' if settings.time else 'slices'} left out)"
        )
    return text


def run_link(options: argparse.Namespace) -> int:
    """Link a stack of label images."""
    from napari_sam.io import write_labels
    from napari_sam.io.ctc import check_ctc_folder, write_ctc
    from napari_sam.io.geff import check_geff_folder, write_geff
    from napari_sam.io.labels import check_tiff_name

    settings = link_settings(options)
    for name, folder in (("--ctc", options.ctc), ("--geff", options.geff)):
        if folder is not None and not settings.time:
            raise SettingsError(f"{name} writes tracks through time; add --time.")
    check_tiff_name(options.out)
    check_outputs([options.out], inputs=[options.labels], overwrite=options.overwrite)
    if options.ctc is not None:
        check_ctc_folder(options.ctc, overwrite=options.overwrite)
    if options.geff is not None:
        check_geff_folder(options.geff, overwrite=options.overwrite)
    watch = Stopwatch()
    image = _read(options.labels)
    labels = np.asarray(image.data)
    check_axes(labels.shape, image.label_axes, along_time=settings.time)
    remark = remark_on(labels, options.labels.name)
    say(remark, quiet=not remark)
    report = Report(quiet=options.quiet)
    try:
        linked = linked_stack(labels, settings, report)
    finally:
        report.close()
    write_labels(options.out, linked.labels, image)
    say(f"wrote {options.out}", quiet=options.quiet)
    if options.ctc is not None:
        write_ctc(options.ctc, linked.labels, linked.graph, overwrite=options.overwrite)
        say(f"wrote {options.ctc}", quiet=options.quiet)
    if options.geff is not None:
        write_geff(
            options.geff,
            linked.tracks,
            scale=image.scale,
            units=image.units,
            overwrite=options.overwrite,
        )
        say(f"wrote {options.geff}", quiet=options.quiet)
    say(
        f"{summary(linked, settings)} in {watch.elapsed:.1f} s",
        quiet=options.quiet,
    )
    return 0


def _read(path: Path) -> ImageFile:
    from napari_sam.io import ImageFile, read_image
    from napari_sam.io.label_files import read_labels

    if not path.is_dir():
        return read_image(path, colors=False)
    known = read_labels(path)
    axes = "".join(known.axes).upper() or "TCZYX"[-known.data.ndim :]
    return ImageFile(known.data, axes, known.scale, known.units, known.name)
