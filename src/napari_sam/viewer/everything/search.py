"""Searching planes for all their objects, in the background."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam.core.everything.search import iter_everything, of_stack
from napari_sam.core.steps import mapped, reporting
from napari_sam.types import Plane, Progress, Region
from napari_sam.viewer.background.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.everything.search import EverythingSettings
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.image.encoder import PlaneEncoder

EVERYTHING_SLOT = "everything"


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One run of everything mode: what was asked, and the means to stop it."""

    settings: EverythingSettings
    region: Region | None
    is_prefill: bool
    stop: threading.Event

    @property
    def is_stopped(self) -> bool:
        """Whether the user has stopped it."""
        return self.stop.is_set()


class Searcher:
    """Runs one search at a time; a new one takes the place of the last.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller; its ``planes`` are set.
    on_progress : callable
        Called when `progress` has changed.
    on_found : callable
        Takes the search, a plane, its proposals and what ``prepare`` made of them.
    on_error : callable
        Takes the exception that ended the search.
    on_end : callable
        Takes the search that has come to its end and was not superseded.
    prepare : callable
        Called in the worker with the search, a plane and its proposals; what it returns
        is handed to ``on_found`` with them.

    Attributes
    ----------
    progress : Progress or None
        How far it is; None when nothing runs.
    """

    def __init__(
        self,
        context: Context,
        *,
        on_progress: Callable[[], None],
        on_found: Callable[[Search, Plane, Proposals, Any], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[Search], None],
        prepare: Callable[[Search, Plane, Proposals], Any],
    ) -> None:
        self._context = context
        self._on_progress = on_progress
        self._on_found = on_found
        self._on_error = on_error
        self._on_end = on_end
        self._prepare = prepare
        self.progress: Progress | None = None
        self._search: Search | None = None

    def start(
        self, wanted: Sequence[Plane], region: Region | None, *, is_prefill: bool
    ) -> None:
        """Search these planes, one after another."""
        context = self._context
        if context.encoder is None:
            return
        search = Search(
            context.settings.everything, region, is_prefill, threading.Event()
        )
        self._search = search
        self.progress = Progress(0, 0, "starting")
        context.runner.submit(
            Job(
                partial(self._search_planes, search, context.encoder, wanted),
                priority=Priority.EVERYTHING,
                slot=EVERYTHING_SLOT,
                on_yield=partial(self._step, search),
                on_error=self._on_error,
                on_end=partial(self._end, search),
            )
        )
        self._on_progress()

    def _search_planes(
        self, search: Search, encoder: PlaneEncoder, wanted: Sequence[Plane]
    ) -> Generator[Any, None, None]:
        """Search, and make ready to be shown what was found; the worker's side."""
        for step in search_planes(
            encoder, wanted, search.settings, search.region, search.stop.is_set
        ):
            if isinstance(step, Progress):
                yield step
            else:
                yield *step, self._prepare(search, *step)

    def cancel(self) -> None:
        """Stop and keep what has been found."""
        if self._search is not None:
            self._search.stop.set()

    def drop(self) -> None:
        """Stop and deliver nothing any more."""
        self.cancel()
        self._context.runner.cancel(EVERYTHING_SLOT)
        self._search, self.progress = None, None

    def _step(self, search: Search, step: Any) -> None:
        if isinstance(step, Progress):
            self.progress = step
            self._on_progress()
        else:
            self._on_found(search, *step)

    def _end(self, search: Search) -> None:
        if search is self._search:
            self._search, self.progress = None, None
            self._on_end(search)


def search_planes(
    encoder: PlaneEncoder,
    wanted: Sequence[Plane],
    settings: EverythingSettings,
    region: Region | None,
    stop: Callable[[], bool],
) -> Generator[Progress | tuple[Plane, Proposals], None, None]:
    """Search planes one after another; the worker's side.

    Yields
    ------
    Progress or (Plane, Proposals)
        A plane's proposals as soon as it is finished.  A single plane that was
        stopped half-way is delivered with what was found; in a stack it is left
        out.
    """
    for number, plane in enumerate(wanted):
        prefix = f"plane {number + 1} of {len(wanted)}: " if len(wanted) > 1 else ""
        encoding = Progress(number, len(wanted), f"{prefix}encoding")
        yield encoding
        encoded = yield from reporting(encoder.iter_get(plane), encoding)
        steps = iter_everything(
            encoder.pixels(plane),
            # In steps, so that a click never waits for a tile.
            encoder.engine.iter_encode,
            settings,
            region=region,
            plane=encoded,
            should_stop=stop,
        )
        told = partial(of_stack, number=number, n_planes=len(wanted), prefix=prefix)
        proposals = yield from mapped(steps, told)
        if stop() and len(wanted) > 1:
            # Half a plane among whole ones would look like few objects.
            return
        yield plane, proposals
        if stop():
            return


def parallel_planes(plane: Plane, shape: tuple[int, ...]) -> list[Plane]:
    """Return all planes along the longest slider, the other sliders as they are."""
    sliders = [a for a, i in enumerate(plane.index) if i is not None and shape[a] > 1]
    if not sliders:
        return [plane]
    axis = max(sliders, key=lambda a: shape[a])
    return [plane.moved(axis, position) for position in range(shape[axis])]
