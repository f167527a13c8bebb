"""Annotating from a script, in a napari window or without one.

The same controller as behind the dock widget, with calls that wait for their
result: what a user does with mouse and keys, a script does with methods.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.prompts import PointItem, PromptItems, ShapeItem
from napari_sam.errors import (
    Cancelled,
    FileFormatError,
    ImageError,
    LabelsError,
    PromptError,
    SettingsError,
)
from napari_sam.types import MaskLevel
from napari_sam.viewer.background.model_loader import MODEL_SLOT
from napari_sam.viewer.background.prefetcher import SHOWN_SLOT
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.everything.review import REVIEW_SLOT
from napari_sam.viewer.everything.search import EVERYTHING_SLOT
from napari_sam.viewer.learning.learner import GATHER_SLOT, LEARN_SLOT, SAVE_SLOT
from napari_sam.viewer.projects.session import (
    IDENTIFY_SLOT,
    RECORDS_SLOT,
)
from napari_sam.viewer.prompting.requests import SLOTS as PREDICT_SLOTS
from napari_sam.viewer.validation import as_label, as_point, as_points, on_one_plane
from napari_sam.viewer.volumes.runs import PropagationRuns

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import numpy.typing as npt
    from napari.layers import Image, Labels

    from napari_sam.training.adapt.loop import Adapted
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.types import BoolArray, FloatArray, Plane
    from napari_sam.viewer.controller import Controller

_SLOTS = (
    MODEL_SLOT,
    SHOWN_SLOT,
    *PREDICT_SLOTS,
    EVERYTHING_SLOT,
    PropagationRuns.slot,
    REVIEW_SLOT,
    GATHER_SLOT,
    "count",
    IDENTIFY_SLOT,
    RECORDS_SLOT,
)


class Session:
    """A controller driven by a script; made by `annotate`.

    Points and boxes are in array coordinates of the image, ``(row, column)`` or
    ``(z, row, column)`` and so on, in pixels, whatever the layer's scale.
    Each call returns when its result is there.  GUI thread only.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def bind(self, image: Image, model: str, device: str) -> None:
        """Choose image and model, and wait until the plane on screen can answer."""
        controller = self.controller
        with self._raising():
            controller.choose_image(image)
            if not controller.loader.is_loading and (
                controller.loader.device is None
                or controller.loader.name != model
                or device not in ("auto", controller.loader.device)
            ):
                controller.load_model(model, device)
            self.wait()

    # -- prompts ------------------------------------------------------------

    def add_point(self, point: Sequence[float], *, positive: bool = True) -> None:
        """Click: the object is (or is not) at this point.

        Parameters
        ----------
        point : sequence of float
            Array coordinates, one per image axis.  The viewer goes to the
            plane of the point.
        positive : bool
            False marks background.

        Raises
        ------
        PromptError
            If the point has the wrong length or lies outside the image.
        """
        place = as_point(point, self._shape)
        with self._or_as_before():
            plane = self._show(place)
            item = PointItem(place, bool(positive), plane.displayed)
            items = self.controller.annotator.items
            self._prompt(PromptItems((*items.points, item), items.shapes))

    def add_box(self, start: Sequence[float], stop: Sequence[float]) -> None:
        """Draw a box from one corner to the opposite one on one plane.

        A second box on the same plane is a second object.

        Parameters
        ----------
        start, stop : sequence of float
            Array coordinates of two opposite corners.

        Raises
        ------
        PromptError
            If a corner has the wrong length, the box is on several planes or has no
            area, or it begins outside the image.
        """
        first = as_point(start, self._shape)
        corners = as_points([start, stop], self._shape, "Box")
        with self._or_as_before():
            plane = self._show(first)
            on_one_plane(corners, plane, "The box")
            (r0, c0), (r1, c1) = map(plane.to_plane_point, corners)
            if r0 == r1 or c0 == c1:
                raise PromptError(
                    f"The box from {tuple(start)} to {tuple(stop)} has no area; draw "
                    f"it larger."
                )
            around = [(r0, c0), (r0, c1), (r1, c1), (r1, c0)]
            vertices = np.array([plane.to_array_point(r, c) for r, c in around])
            self._add_shape(ShapeItem(vertices, "rectangle", True, plane.displayed))

    def add_outline(self, vertices: npt.ArrayLike) -> None:
        """Draw roughly around the object: a filled polygon as a mask prompt.

        Parameters
        ----------
        vertices : array-like (N, ndim)
            Array coordinates on one plane.

        Raises
        ------
        PromptError
            If there are fewer than three vertices, one is not finite, they are on
            several planes, or the first is outside the image.
        """
        points = as_points(vertices, self._shape, "Outline")
        if len(points) < 3:
            raise PromptError(
                f"An outline of {len(points)} vertices encloses nothing; give three or "
                f"more."
            )
        first = as_point(points[0], self._shape)
        with self._or_as_before():
            plane = self._show(first)
            on_one_plane(points, plane, "The outline")
            self._add_shape(ShapeItem(points, "polygon", True, plane.displayed))

    # -- the current object -------------------------------------------------

    @property
    def labels(self) -> Labels | None:
        """The Labels layer that objects are written to, once there is one."""
        return self.controller.labels.layer

    @property
    def score(self) -> float | None:
        """Predicted IoU of the preview on the plane on screen."""
        return self.controller.annotator.score

    @property
    def mask(self) -> BoolArray | None:
        """The preview on the plane on screen, bool (H, W); several boxes united."""
        prediction = self.controller.annotator.prediction
        image, plane = self.controller.context.image, self.controller.context.plane
        if prediction is None or image is None or plane is None:
            return None
        shape = plane.shape(layer_shape(image))
        out = np.zeros(shape, bool)
        for candidate in prediction.candidates:
            out |= candidate.mask.full(shape)
        return out

    @property
    def level(self) -> MaskLevel:
        """Which of the model's nested answers is used."""
        return self.controller.annotator.level

    @level.setter
    def level(self, level: MaskLevel | str) -> None:
        if level not in list(MaskLevel):
            raise SettingsError(
                f"level is {level!r}; choose from {', '.join(MaskLevel)}."
            )
        with self._raising():
            self.controller.set_level(MaskLevel(level))
            self.wait()

    def accept(self) -> int | None:
        """Write the object into the labels.

        Returns
        -------
        int or None
            Its label; None if there was nothing to write.
        """
        with self._raising():
            if self.labels is None:
                self.controller.new_labels()
            label = self.controller.annotator.label
            written = self.controller.annotator.accept()
        return label if written else None

    def propagate(
        self, *, limits: tuple[int, int] | None = None, time: bool | None = None
    ) -> FloatArray:
        """Follow the object through the stack; `accept` writes all of its slices.

        Parameters
        ----------
        limits : tuple of int, optional
            First slice, and one past the last; the whole stack by default.
        time : bool, optional
            Whether the slices are frames; by default if the axis is named so.

        Returns
        -------
        float32 array (Z,)
            The confidence of each slice: 1 where prompted, NaN where it is not.

        Raises
        ------
        PromptError
            If there is no object, no stack, or no slice within the limits.
        """
        follower = self.controller.propagation
        with self._raising():
            follower.follow_between(limits, time)
            self.wait()
        return follower.confidence

    def discard(self) -> None:
        """Drop the prompts and the preview."""
        self.controller.discard()

    def select_object(self, label: int) -> None:
        """Make an object current again, with its prompts.

        Raises
        ------
        LabelsError
            If there are no labels, or it is not the number of one of their objects.
        """
        labels = self.labels
        if labels is None:
            raise LabelsError(
                f"There are no labels yet, so no object {label!r}; accept one first."
            )
        number = as_label(label, labels.data.dtype)
        with self._raising():
            self.controller.annotator.select_object(number)
            self.wait()

    def undo(self) -> None:
        """Undo the newest change of the labels: one accept, one write, one erase."""
        with self._raising():
            self.controller.undo()
            self.wait()

    def redo(self) -> None:
        """Redo what was undone last."""
        with self._raising():
            self.controller.redo()
            self.wait()

    # -- everything mode ----------------------------------------------------

    def segment_everything(
        self, *, all_planes: bool = False, write: bool = True, **settings: Any
    ) -> int:
        """Find all objects of the plane on screen, or of all planes.

        Parameters
        ----------
        all_planes : bool
            Every plane of the stack, one after another.
        write : bool
            Write the proposals into the labels as one undo step.
        **settings
            Fields of `AnnotationSettings` to change first, for example
            ``min_score=0.9`` or ``everything=EverythingSettings(...)``.

        Returns
        -------
        int
            Number of objects proposed.

        Raises
        ------
        SettingsError
            If there is no such setting, or it cannot have this value; nothing is
            changed then.
        PromptError
            If no plane of an image is on screen.
        """
        mode = self.controller.everything
        self.change_settings(**settings)
        with self._raising():
            mode.run(all_planes=bool(all_planes))
            self.wait()
            count = mode.count
            if write and count:
                mode.write()
        return count

    def change_settings(self, **settings: Any) -> None:
        """Change fields of `AnnotationSettings`.

        Raises
        ------
        SettingsError
            If there is no such setting, or it cannot have this value.
        """
        with self._raising():
            self.controller.change_settings(**settings)
            self.wait()

    # -- review -------------------------------------------------------------

    def prefill(self) -> int:
        """Propose what the model is sure of on the plane on screen.

        Returns
        -------
        int
            Number of proposals there.
        """
        with self._raising():
            self.controller.everything.prefill()
            self.wait()
        return len(self.controller.everything.review_items)

    def review(self) -> int:
        """Begin to decide on proposals, and on objects that nobody has looked at.

        Returns
        -------
        int
            How many there are; the least certain is the current one.
        """
        review = self.controller.review
        with self._raising():
            review.start()
            self.wait()
        return review.proposal_count + review.object_count

    def accept_proposal(self) -> bool:
        """Accept the one that is reviewed; False without a review."""
        with self._raising():
            decided = self.controller.review.accept()
            self.wait()
        return decided

    def reject_proposal(self) -> bool:
        """Reject the one that is reviewed; False without a review."""
        with self._raising():
            decided = self.controller.review.reject()
            self.wait()
        return decided

    def correct_proposal(self) -> bool:
        """Make the one that is reviewed the current object, to be changed by prompts.

        `accept` writes it.  False without a review, or if it is that object already.
        """
        with self._raising():
            begun = self.controller.review.correct()
            self.wait()
        return begun

    # -- learning -----------------------------------------------------------

    def learn(
        self,
        name: str = "",
        *,
        neck: bool = False,
        always: bool = False,
        settings: AdaptSettings | None = None,
    ) -> Adapted:
        """Let the model learn from the accepted objects, and use it if it is better.

        Parameters
        ----------
        name : str
            What to call the adapted model; by default that of the model and the
            image.
        neck : bool
            Also adapt the neck of the image encoder, which needs all planes to be
            encoded again.
        always : bool
            Save and use it even if it is not better.
        settings : AdaptSettings, optional
            How to learn.

        Returns
        -------
        Adapted
            Before and after on objects kept aside; ``name`` is None if it was
            not saved.

        Raises
        ------
        DataError
            If there are fewer than five usable objects.
        FileFormatError
            If the result cannot be saved.
        """
        learning = self.controller.learning
        with self._raising():
            learning.start(name, neck=neck, settings=settings)
            self.wait()
            learning.runner.wait((LEARN_SLOT, SAVE_SLOT))
            if always:
                learning.keep()
                learning.runner.wait((SAVE_SLOT,))
            self.wait()
        if learning.result is None:
            raise Cancelled("Learning was cancelled; the model is as it was.")
        return learning.result

    # -- projects -----------------------------------------------------------

    def save_project(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Save labels, prompts, proposals and settings as a project.

        Parameters
        ----------
        path : path, optional
            A new folder, to which ``.napari-sam`` is added if it is missing; the
            project that is open by default.

        Returns
        -------
        Path
            The project's folder; see :func:`napari_sam.open_project`.

        Raises
        ------
        FileFormatError
            If there is something already, or it cannot be written.
        ImageError
            If there are no labels yet.
        """
        projects = self.controller.projects
        with self._raising():
            if path is None:
                projects.save()
            else:
                projects.save_as(Path(path))
            self.wait()
        if projects.path is None:
            raise FileFormatError("The project was closed while it was saved.")
        return projects.path

    # -- life ---------------------------------------------------------------

    def wait(self) -> None:
        """Wait for what was asked for; prefetch goes on.

        Raises
        ------
        SamError
            The first problem met on the way.
        """
        with self._raising():
            self._wait()

    def _wait(self) -> None:
        controller = self.controller
        controller.context.runner.wait((*_SLOTS, *controller.projects.slots))

    def close(self) -> None:
        """Let go of the viewer; all user layers stay."""
        if getattr(self.controller.viewer, "window", None) is None:
            # The script has the labels; a later window need not offer them.
            self.controller.settle()
        else:
            self.controller.put_aside()
        self.controller.close()

    @contextmanager
    def _raising(self) -> Iterator[None]:
        """Raise problems in the script instead of showing them to the user."""
        context = self.controller.context
        errors: list[Exception] = []
        outer, context.on_error = context.on_error, errors.append
        try:
            yield
        finally:
            context.on_error = outer
        if errors:
            raise errors[0]

    @property
    def _shape(self) -> tuple[int, ...]:
        image = self.controller.context.image
        if image is None:
            raise ImageError("There is no image to annotate; call annotate again.")
        return layer_shape(image)

    @contextmanager
    def _or_as_before(self) -> Iterator[None]:
        """Take prompts and plane back if a prompt is refused."""
        dims = self.controller.viewer.dims
        items, step = self.controller.annotator.items, dims.current_step
        try:
            yield
        except Exception:
            with self._quietly():
                if self.controller.annotator.items != items:
                    self.controller.annotator.set_items(items)
                dims.current_step = step
                self._wait()
            raise

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Drop what is reported: the first problem is the one to be told."""
        context = self.controller.context
        outer, context.on_error = context.on_error, lambda _: None
        try:
            yield
        finally:
            context.on_error = outer

    def _show(self, point: tuple[float, ...]) -> Plane:
        """Bring the plane of a point on screen."""
        with self._raising():
            self.controller.navigator.go_to_point(list(point))
            self.wait()
        plane = self.controller.context.plane
        if plane is None:
            raise PromptError("The viewer shows 3-D; switch it to 2-D first.")
        return plane

    def _add_shape(self, item: ShapeItem) -> None:
        items = self.controller.annotator.items
        self._prompt(PromptItems(items.points, (*items.shapes, item)))

    def _prompt(self, items: PromptItems) -> None:
        with self._raising():
            self.controller.annotator.set_items(items)
            self.wait()
