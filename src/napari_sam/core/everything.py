"""Everything mode: find all objects of a plane without a prompt.

SAM's automatic mask generation (Kirillov et al., "Segment Anything", 2023,
section 5 and appendix B; reference code ``SamAutomaticMaskGenerator``): a grid
of single-point prompts, three masks each, kept if the model believes in them
and if they are stable under a change of threshold; the same on overlapping
crops if asked for; duplicates are suppressed.

A model that sees where objects are (:mod:`napari_sam.core.centres`) is asked
there instead of on the grid, and once more where it sees objects that no mask
covers.  Everything else is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sized
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_sam.core.asking import make_questions
from napari_sam.core.decoding import decode_candidates
from napari_sam.core.everything_settings import EverythingSettings
from napari_sam.core.grid import is_whole, plan_searches
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.proposals import Proposals
from napari_sam.core.selection import Candidates
from napari_sam.core.steps import finish
from napari_sam.errors import SettingsError
from napari_sam.types import Plane, Progress, ProgressCallback, Region

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.types import RGBArray

__all__ = [
    "EverythingSettings",
    "iter_everything",
    "iter_everything_stack",
    "run",
]

T = TypeVar("T")
Encode = Callable[["RGBArray"], "EncodedPlane"]
ShouldStop = Callable[[], bool]

_CHUNK = 8
"""Points between two progress reports, some tenths of a second on two cores."""


def iter_everything(
    rgb: RGBArray,
    encode: Encode,
    settings: EverythingSettings | None = None,
    *,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Proposals]:
    """Find all objects of a plane; yield progress, return proposals.

    Drive it with `run`, or with ``next`` and take the value of
    ``StopIteration``.  Closing it abandons everything; to keep what has been
    found so far, make ``should_stop`` return True.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3)
        The plane.
    encode : callable
        Encodes an RGB array (a crop of ``rgb`` or all of it).
    settings : EverythingSettings, optional
        SAM's defaults if not given.
    region : Region, optional
        A drawn rectangle.  The grid of points covers it instead of the plane,
        and only masks that lie wholly inside it are found.  If the rectangle
        with a margin of a quarter of its longer side is at most half as long
        as the plane, that window is encoded by itself, at higher resolution;
        otherwise the embedding of the whole plane is used.
    plane : EncodedPlane, optional
        The whole plane, if it is encoded already.  If it stands for a larger
        image than ``rgb`` (a coarse level of a pyramid), masks come at the size
        of that image and no window is encoded by itself.
    should_stop : callable, optional
        Asked after every few points.

    Yields
    ------
    Progress
        In points.

    Returns
    -------
    Proposals
        Every mask above the floor, filtered by the settings' thresholds.

    Raises
    ------
    PromptError
        If the region lies outside the image.
    SettingsError
        If crop layers are wanted of a coarse level of a pyramid.
    """
    return (
        yield from _search(
            rgb, encode, settings or EverythingSettings(), region, plane, should_stop
        )
    )[0]


def _search(
    rgb: RGBArray,
    encode: Encode,
    settings: EverythingSettings,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, tuple[Proposals, bool]]:
    """Do what `iter_everything` does; return also whether it came to its end."""
    size = (int(rgb.shape[0]), int(rgb.shape[1]))
    shape = size if plane is None else plane.frame.image_size
    if shape != size and settings.crop_n_layers > 0:
        raise SettingsError(
            f"crop_n_layers is {settings.crop_n_layers}, which needs the image at "
            f"full resolution, but only a level of {size[0]} x {size[1]} is loaded; "
            "set it to 0."
        )
    searches = plan_searches(
        shape,
        region,
        sides=[settings.side_points(i) for i in range(settings.crop_n_layers + 1)],
        overlap_ratio=settings.crop_overlap_ratio,
        can_crop=shape == size,
    )
    stopped = should_stop or (lambda: False)
    found: list[Candidates] = []
    done = 0
    is_finished = True
    on_objects, own = False, ModelThresholds()
    for number, search in enumerate(searches):
        # Windows to come count like the grids they may get.
        ahead = sum(s.side**2 for s in searches[number + 1 :])
        if not stopped():
            yield Progress(done, done + search.side**2 + ahead, "encoding")
        if stopped():
            is_finished = False
            break
        if plane is not None and search.window == Region.whole(shape):
            encoded = plane
        else:
            encoded = encode(np.ascontiguousarray(rgb[search.window.slices]))
        questions = make_questions(encoded, search, settings)
        on_objects, own = questions.on_objects, encoded.thresholds
        while len(chunk := questions.take(_CHUNK)):
            new = decode_candidates(
                encoded,
                chunk,
                origin=(search.window.row0, search.window.col0),
                crop=number,
                offset=settings.stability_score_offset,
                floor=settings.floor(own, on_objects),
                on_objects=on_objects,
            )
            # Those cut by the window are no proposals but are no gap either.
            new = questions.sift(new)
            found.append(new.take(is_whole(new.box, search, shape)))
            done += len(chunk)
            total = done + questions.left + ahead
            yield Progress(done, total, f"{done:,} of {total:,} points")
            if stopped():
                is_finished = done == total
                break
    proposals = Proposals.from_candidates(
        Candidates.concatenate(found),
        settings.thresholds(shape, own, on_objects),
        shape=shape,
        crops=[s.window for s in searches],
        floor=settings.floor(own, on_objects),
    )
    return proposals, is_finished


def iter_everything_stack(
    planes: Iterable[tuple[Plane, Callable[[], RGBArray]]],
    encode: Encode,
    settings: EverythingSettings | None = None,
    *,
    region: Region | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress | tuple[Plane, Proposals], None, None]:
    """Find all objects of many planes, one plane after another.

    Each plane is yielded as soon as it is finished, so cancelling, by
    ``should_stop`` or by closing, keeps the finished planes; the plane at work
    is dropped, as half of its objects would pass for all of them.

    Parameters
    ----------
    planes : iterable of (Plane, callable)
        The planes and functions that read each as RGB uint8 (H, W, 3); only one
        plane is loaded at a time.
    encode, settings, region, should_stop
        As for `iter_everything`.

    Yields
    ------
    Progress or (Plane, Proposals)
        Progress counts points over all planes; its total is 0 if ``planes`` has
        no length.
    """
    settings = settings or EverythingSettings()
    stopped = should_stop or (lambda: False)
    n_planes = len(planes) if isinstance(planes, Sized) else 0
    for number, (plane, read) in enumerate(planes):
        if stopped():
            return
        prefix = f"plane {number + 1}" + (f" of {n_planes}" if n_planes else "")
        steps = _search(read(), encode, settings, region, None, should_stop)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                proposals, is_finished = end.value
                break
            # As if every plane had as many points as this one.
            yield Progress(
                number * step.total + step.done,
                n_planes * step.total,
                f"{prefix}: {step.text}",
            )
        if not is_finished:
            return
        yield plane, proposals


def run(
    steps: Generator[Progress, None, T], progress: ProgressCallback | None = None
) -> T:
    """Run a generator to its end and return its value.

    Parameters
    ----------
    steps : generator of Progress
        For example `iter_everything`.
    progress : callable, optional
        Called with each `Progress`.  An exception it raises ends the run.
    """
    return finish(steps, progress)
