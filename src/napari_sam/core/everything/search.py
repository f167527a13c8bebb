"""Everything mode: find all objects of a plane without a prompt.

SAM's automatic mask generation (Kirillov et al., "Segment Anything", 2023,
section 5 and appendix B; reference code ``SamAutomaticMaskGenerator``): a grid
of single-point prompts, three masks each, kept if the model believes in them
and if they are stable under a change of threshold; the same on overlapping
crops if asked for; duplicates are suppressed.

A model that sees where objects are (`object_points`) is asked there instead of on the
grid, and once more where it sees objects that no mask covers.  Such a model is asked at
the scale that the objects need (`object_scale`): where the whole plane shows them too
small, in overlapping tiles, each of which is asked in its core; where too large, in one
view.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence, Sized
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from napari_sam.core.everything.candidate_sources import make_candidate_source
from napari_sam.core.everything.decoding import decode_candidates
from napari_sam.core.everything.object_scale import LOOKS, iter_scale, known_scale
from napari_sam.core.everything.proposals import Proposals
from napari_sam.core.everything.search_plan import Search, is_whole, plan_searches
from napari_sam.core.everything.selection import Candidates
from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.core.pixels import ArrayPixels
from napari_sam.core.steps import Run, finish, mapped, reporting
from napari_sam.errors import ImageError, SettingsError
from napari_sam.types import Frame, Plane, Progress, ProgressCallback, Region

if TYPE_CHECKING:
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.pixels import PlanePixels
    from napari_sam.core.views import View
    from napari_sam.types import RGBArray

__all__ = [
    "EverythingSettings",
    "iter_everything",
    "iter_everything_stack",
    "run",
]

T = TypeVar("T")
ShouldStop = Callable[[], bool]


class Encode(Protocol):
    """What encodes the windows of a plane."""

    def __call__(
        self,
        rgb: RGBArray,
        image_size: tuple[int, int] | None = None,
        *,
        frame: Frame | None = None,
    ) -> EncodedPlane | Generator[None, None, EncodedPlane]:
        """Encode RGB uint8 (H, W, 3), at once or in steps.

        ``frame`` says how a view sits in its input; without, the pixels fill the
        model's own.  ``image_size`` is given if they are fewer than the window has.
        """


_CHUNK = 8
"""Points between two progress reports, some tenths of a second on two cores."""


def iter_everything(
    rgb: RGBArray | PlanePixels,
    encode: Encode,
    settings: EverythingSettings | None = None,
    *,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Proposals]:
    """Find all objects of a plane; yield progress, return proposals.

    A model that sees objects searches the plane, or the region, at the scale that these
    need, which is the proposals' ``scale``.

    Drive it with `run`, or with ``next`` and take the value of
    ``StopIteration``.  Closing it abandons everything; to keep what has been
    found so far, make ``should_stop`` return True.

    Parameters
    ----------
    rgb : uint8 array (H, W, 3), or PlanePixels
        The plane, or what reads windows of it: each is read when its turn comes, and
        forgotten then.
    encode : callable
        Encodes an RGB array (a crop of ``rgb`` or all of it), see `Encode`.
    settings : EverythingSettings, optional
        ``EverythingSettings()`` if not given.  What depends on a model's scores is
        then what the model says, see
        :class:`~napari_sam.core.model_thresholds.ModelThresholds`.
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
        In points; of tiles in hundredths, since nobody knows how many points there are.

    Returns
    -------
    Proposals
        Every mask above the floor, filtered by the settings' thresholds.  Of tiles
        that could not be read there is none; see their ``unread``.

    Raises
    ------
    PromptError
        If the region lies outside the image.
    SettingsError
        If crop layers or a size of objects are wanted of a coarse level of a pyramid,
        the size is larger than the plane, or the model does not see objects.
    """
    return (
        yield from _search(
            rgb,
            encode,
            settings or EverythingSettings(),
            region,
            plane,
            should_stop,
        )
    )[0]


def _search(
    rgb: RGBArray | PlanePixels,
    encode: Encode,
    settings: EverythingSettings,
    region: Region | None = None,
    plane: EncodedPlane | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, tuple[Proposals, bool]]:
    """Do what `iter_everything` does; return also whether it came to its end."""
    pixels = ArrayPixels(rgb) if isinstance(rgb, np.ndarray) else rgb
    size = pixels.size
    shape = size if plane is None else plane.frame.image_size
    _check(settings, size, shape)
    searches: Sequence[Search] = plan_searches(
        shape,
        region,
        sides=[settings.side_points(i) for i in range(settings.crop_n_layers + 1)],
        overlap_ratio=settings.crop_overlap_ratio,
        can_crop=shape == size,
    )
    stopped = should_stop or (lambda: False)
    windows = _Windows(pixels, encode, plane, shape)
    if shape == size and not settings.crop_n_layers and not stopped():
        searches = yield from _at_scale(windows, searches[0], settings, stopped)
    found: list[Candidates] = []
    done = 0
    is_finished = True
    unread: list[str] = []
    on_objects, own = False, ModelThresholds()
    for number, search in enumerate(searches):
        # Windows to come count like the grids they may get, tiles like those before.
        if search.frame is None:
            ahead = sum(s.side**2 for s in searches[number + 1 :])
        else:
            ahead = max(1, done // max(1, number)) * (len(searches) - number - 1)
        if search.frame is None:
            encoding = Progress(done, done + search.side**2 + ahead, "encoding")
        else:
            encoding = _of_tiles(number, 0.0, len(searches), "encoding")
        if not stopped():
            yield encoding
        if stopped():
            is_finished = False
            break
        steps = windows.iter_take(search.window, search.frame)
        try:
            encoded = yield from reporting(steps, encoding)
        except ImageError as error:
            if search.frame is None:
                raise
            unread.append(_said_unread(search.window, error))
            continue
        questions = make_candidate_source(encoded, search, settings)
        on_objects, own = questions.on_objects, encoded.thresholds
        done_before, part = done, 0.0
        while len(chunk := questions.take(_CHUNK)):
            new = decode_candidates(
                encoded,
                chunk,
                origin=(search.window.row0, search.window.col0),
                # Of tiles no one goes before another.
                crop=number if search.frame is None else 0,
                offset=settings.stability_score_offset,
                floor=settings.floor(own, on_objects),
                on_objects=on_objects,
            )
            # Those cut by the window are no proposals but are no gap either.
            new = questions.filter_found(new)
            found.append(new.take(is_whole(new.box, search, shape)))
            done += len(chunk)
            total = done + questions.left + ahead
            text = f"{done:,} of {total:,} points"
            if search.frame is None:
                yield Progress(done, total, text)
            else:
                asked = done - done_before
                # A second round adds points to those that were counted.
                part = max(part, asked / (asked + questions.left))
                yield _of_tiles(number, part, len(searches), text)
            if stopped():
                is_finished = not questions.left and number + 1 == len(searches)
                break
    proposals = Proposals.from_candidates(
        Candidates.concatenate(found),
        settings.thresholds(shape, own, on_objects),
        shape=shape,
        crops=[s.window for s in searches if s.frame is None],
        floor=settings.floor(own, on_objects),
        scale=None if searches[0].frame is None else max(searches[0].frame.scale),
        unread=unread,
    )
    return proposals, is_finished


class _Windows:
    """Encoded windows of one plane.

    Those that were looked at for the scale are kept, the last few of them, and searched
    without being encoded again.
    """

    def __init__(
        self,
        pixels: PlanePixels,
        encode: Encode,
        plane: EncodedPlane | None,
        shape: tuple[int, int],
    ) -> None:
        self._pixels = pixels
        self._encode = encode
        self._seen: OrderedDict[tuple[Region, Frame | None], EncodedPlane]
        self._seen = OrderedDict()
        if plane is not None:
            self._seen[Region.whole(shape), None] = plane

    def iter_look(
        self, window: Region, frame: Frame | None = None
    ) -> Generator[None, None, EncodedPlane]:
        """Return a window and keep it."""
        seen = yield from self.iter_take(window, frame)
        self._seen[window, frame] = seen
        while len(self._seen) > 2 * LOOKS + 1:
            self._seen.popitem(last=False)
        return seen

    def iter_take(
        self, window: Region, frame: Frame | None = None
    ) -> Generator[None, None, EncodedPlane]:
        """Return a window and forget it."""
        seen = self._seen.pop((window, frame), None)
        if seen is not None:
            return seen
        fitting = Frame.fit(window.shape) if frame is None else frame
        pixels = np.ascontiguousarray(self._pixels.read(window, fitting))
        if frame is not None:
            encoded = self._encode(pixels, frame=frame)
        elif pixels.shape[:2] != window.shape:
            encoded = self._encode(pixels, window.shape)
        else:
            encoded = self._encode(pixels)
        if isinstance(encoded, Generator):
            encoded = yield from encoded
        return encoded


def _said_unread(window: Region, error: ImageError) -> str:
    return (
        f"rows {window.row0} to {window.row1}, columns {window.col0} to "
        f"{window.col1}: {error}"
    )


def _check(
    settings: EverythingSettings, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    """Refuse what cannot be done with a plane of which this size is loaded."""
    for name in ("crop_n_layers", "object_size"):
        value = getattr(settings, name)
        if value and shape != size:
            raise SettingsError(
                f"{name} is {value:g}, which needs the image at full resolution, but "
                f"only a level of {size[0]} x {size[1]} is loaded; leave it out."
            )
    if settings.object_size is not None and settings.object_size > max(shape):
        raise SettingsError(
            f"object_size is {settings.object_size:g}, larger than the image of "
            f"{shape[0]} x {shape[1]}; give the diameter of an object in pixels."
        )


def _of_tiles(number: int, part: float, n_tiles: int, text: str) -> Progress:
    """Return how far tiles are: nobody knows how many points those to come have."""
    unit = 100
    return Progress(round((number + part) * unit), n_tiles * unit, text)


def _at_scale(
    windows: _Windows,
    search: Search,
    settings: EverythingSettings,
    stopped: ShouldStop,
) -> Generator[Progress, None, Sequence[Search]]:
    """Return the search of a window at the scale that its objects need."""
    if settings.prompts == "grid":
        return [search]
    encoding = Progress(0, search.side**2, "encoding")
    yield encoding
    if stopped():
        return [search]
    encoded = yield from reporting(windows.iter_look(search.window), encoding)
    can = encoded.capabilities
    if not (can.object_maps and can.views):
        if settings.object_size is not None:
            raise SettingsError(
                f"object_size is {settings.object_size:g}, but this model does not see "
                "objects at several scales; leave it out, or choose another model."
            )
        return [search]

    def look(view: View) -> Generator[Progress, None, EncodedPlane | None]:
        looking = Progress(0, search.side**2, "looking how large objects are")
        yield looking
        try:
            steps = windows.iter_look(view.region, view.frame)
            return (yield from reporting(steps, looking))
        except ImageError:
            return None  # reported when it is searched

    if settings.object_size is None:
        center, _ = settings.object_limits(encoded.thresholds)
        steps = iter_scale(encoded, look, search.window, min_center=center)
        scale = yield from _until(steps, stopped)
    else:
        fitting = max(encoded.frame.scale)
        scale = known_scale(settings.object_size, fitting, search.window)
    return [search] if scale is None else search.tiles(scale)


def _until(
    steps: Generator[Progress, None, T], stopped: ShouldStop
) -> Generator[Progress, None, T | None]:
    """Go on with steps until they end, or somebody wants to stop."""
    run = Run(steps)
    while not stopped():
        if not run.advance():
            return run.value
        yield run.latest
    steps.close()
    return None


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
        Progress counts over all planes what `iter_everything` counts; its total is 0 if
        ``planes`` has no length.
    """
    settings = settings or EverythingSettings()
    stopped = should_stop or (lambda: False)
    n_planes = len(planes) if isinstance(planes, Sized) else 0
    for number, (plane, read) in enumerate(planes):
        if stopped():
            return
        prefix = f"plane {number + 1}" + (f" of {n_planes}" if n_planes else "")
        steps = _search(read(), encode, settings, region, None, should_stop)
        told = partial(of_stack, number=number, n_planes=n_planes, prefix=f"{prefix}: ")
        proposals, is_finished = yield from mapped(steps, told)
        if not is_finished:
            return
        yield plane, proposals


def of_stack(step: Progress, number: int, n_planes: int, prefix: str) -> Progress:
    """Return how far a stack is, as if every plane had as many points as this one."""
    done, total = number * step.total + step.done, n_planes * step.total
    return Progress(done, total, prefix + step.text)


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
