"""Everything mode in the viewer: run, look, move thresholds, write."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.core.everything import iter_everything
from napari_sam.errors import PromptError, SamError
from napari_sam.types import MaskCrop, Plane, Progress, Region
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.labels import ObjectMask
from napari_sam.viewer.objects import ObjectRecord, Source
from napari_sam.viewer.overlay import PlaneOverlay
from napari_sam.viewer.prompts import PromptItems
from napari_sam.viewer.worker import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_sam.core.everything import EverythingSettings
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.proposals import Proposals
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.predict import PlaneEncoder

EVERYTHING_SLOT = "everything"


def search_planes(
    planes: PlaneEncoder,
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
        encoded = yield from _reporting(planes.iter_get(plane), encoding)
        rgb, _ = planes.source.read(plane)
        steps = iter_everything(
            rgb,
            planes.engine.encode,
            settings,
            region=region,
            plane=encoded,
            should_stop=stop,
        )
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                if stop() and len(wanted) > 1:
                    # Half a plane among whole ones would look like few objects.
                    return
                yield plane, end.value
                break
            yield Progress(
                number * step.total + step.done,
                len(wanted) * step.total,
                prefix + step.text,
            )
        if stop():
            return


def _reporting(
    steps: Generator[None, None, EncodedPlane], progress: Progress
) -> Generator[Progress, None, EncodedPlane]:
    """Pass encoding steps on as progress, so that a click may go first."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            encoded: EncodedPlane = end.value
            return encoded
        yield progress


class EverythingMode:
    """Proposals of one viewer, per plane, until they are written or dropped.

    Attributes
    ----------
    changed : Signal()
        Proposals or progress have changed.
    status : Signal(str)
        What just happened and what to do next.
    written : Signal()
        New objects are in the labels.
    """

    changed = Signal()
    status = Signal(str)
    written = Signal()

    def __init__(self, context: Context, make_target: Callable[[], None]) -> None:
        self._context = context
        self._make_target = make_target
        self.overlay = PlaneOverlay(context.viewer, "SAM proposals", "proposals", 0.6)
        self.progress: Progress | None = None
        self._found: dict[Plane, Proposals] = {}
        self._stop = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether a search is under way."""
        return self.progress is not None

    @property
    def shown(self) -> Proposals | None:
        """Proposals of the plane on screen that pass the live filters."""
        plane = self._context.plane
        return self._found.get(plane) if plane is not None else None

    @property
    def count(self) -> int:
        """Number of proposals on all planes."""
        return sum(len(p) for p in self._found.values())

    def run(self, *, all_planes: bool = False, region: Region | None = None) -> None:
        """Search the plane on screen, or all planes of the stack.

        Parameters
        ----------
        all_planes : bool
            Every plane parallel to the one on screen.
        region : Region, optional
            Search only inside this rectangle.

        Raises
        ------
        PromptError
            If no plane of an image is on screen.
        """
        context = self._context
        if context.planes is None or context.plane is None or context.image is None:
            raise PromptError(
                "There is no 2-D image plane on screen to segment; choose an image, "
                "wait for the model, and switch the viewer to 2-D."
            )
        wanted = [context.plane]
        if all_planes:
            wanted = _parallel_planes(context.plane, layer_shape(context.image))
        self._stop = threading.Event()
        self.progress = Progress(0, 0, "starting")
        work = partial(
            search_planes,
            context.planes,
            wanted,
            context.settings.everything,
            region,
            self._stop.is_set,
        )
        context.runner.submit(
            Job(
                work,
                priority=Priority.EVERYTHING,
                slot=EVERYTHING_SLOT,
                on_yield=self._on_step,
                on_error=self._on_error,
                on_end=partial(self._on_end, self._stop),
            )
        )
        self.changed.emit()

    def cancel(self) -> None:
        """Stop searching and keep what has been found."""
        self._stop.set()

    def refilter(self) -> None:
        """Apply the live filters again; no inference."""
        self._found = {p: self._filtered(v) for p, v in self._found.items()}
        self.draw()

    def write(self) -> bool:
        """Write all proposals into the labels as one undo step.

        Returns
        -------
        bool
            Whether anything was written.
        """
        context = self._context
        if not self.count:
            self.status.emit("There are no proposals to write: run everything first.")
            return False
        try:
            if context.target is None:
                self._make_target()
            written = self._write_all()
        except SamError as error:
            self.status.emit(context.report(error))
            return False
        if not written:
            self.status.emit(
                "No pixel is free there under the policy "
                f"'{context.settings.policy}': nothing was written."
            )
            return False
        self.written.emit()
        self.status.emit(f"{written} objects written.  Ctrl+Z takes them back")
        self.discard()
        return True

    def discard(self) -> None:
        """Drop all proposals."""
        self._found.clear()
        self.overlay.remove()
        self.changed.emit()

    def source_changed(self) -> None:
        """Another image or model: its proposals mean nothing now."""
        self.cancel()
        self._stop = threading.Event()
        self._context.runner.cancel(EVERYTHING_SLOT)
        self.progress = None
        self.discard()

    def draw(self) -> None:
        """Show the proposals of the plane on screen."""
        context, shown = self._context, self.shown
        if shown is None or context.plane is None or context.image is None:
            self.overlay.clear()
        else:
            # Best on top, as they will be written.
            masks = [(1 + i % 255, m) for i, m in enumerate(shown.iter_masks())]
            self.overlay.show(context.image, context.plane, masks[::-1])
        self.changed.emit()

    def close(self) -> None:
        """Stop and remove our layer."""
        self.cancel()
        self._context.runner.cancel(EVERYTHING_SLOT)
        self.overlay.remove()

    def _filtered(self, proposals: Proposals) -> Proposals:
        settings = self._context.settings
        height, width = proposals.shape
        return proposals.filter(
            min_score=settings.min_score,
            min_stability=settings.min_stability,
            min_area=settings.min_area,
            max_area=settings.max_share * height * width,
        )

    def _on_step(self, step: Any) -> None:
        if isinstance(step, Progress):
            self.progress = step
            self.changed.emit()
            return
        plane, proposals = step
        self._found[plane] = self._filtered(proposals)
        self.draw()

    def _on_error(self, error: Exception) -> None:
        self.status.emit(self._context.report(error))

    def _on_end(self, stop: threading.Event) -> None:
        if stop is not self._stop:
            # Superseded: another search, image or model.
            return
        self.progress = None
        if self.count:
            stopped = "Stopped: " if self._stop.is_set() else ""
            self.status.emit(
                f"{stopped}{self.count} objects proposed.  Move the thresholds, "
                "then write them into the labels."
            )
        else:
            self.status.emit("Nothing found: lower the thresholds or add points.")
        self.changed.emit()

    def _write_all(self) -> int:
        context = self._context
        target, book, planes = context.target, context.book, context.planes
        if target is None or book is None or planes is None:
            return 0
        label = target.next_label(reserve=self.count)
        objects: list[ObjectMask] = []
        records: list[ObjectRecord] = []
        model = planes.engine.model.name
        for plane, proposals in self._found.items():
            masks: list[MaskCrop] = list(proposals.iter_masks())
            for mask, score, stability in zip(
                masks, proposals.score, proposals.stability, strict=True
            ):
                objects.append(ObjectMask(label, plane, mask))
                records.append(
                    ObjectRecord(
                        label,
                        PromptItems(),
                        model,
                        float(score),
                        Source.EVERYTHING,
                        confirmed=False,
                        planes=(plane,),
                        stability=float(stability),
                    )
                )
                label += 1
        # Best first: under the default policy the first to write a pixel keeps it.
        commit = target.write(objects, context.settings.policy)
        if commit is None:
            return 0
        book.put(*records)
        return len(records)


def _parallel_planes(plane: Plane, shape: tuple[int, ...]) -> list[Plane]:
    """Return all planes along the longest slider, the other sliders as they are."""
    sliders = [a for a, i in enumerate(plane.index) if i is not None and shape[a] > 1]
    if not sliders:
        return [plane]
    axis = max(sliders, key=lambda a: shape[a])
    return [plane.moved(axis, position) for position in range(shape[axis])]
