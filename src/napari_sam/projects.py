"""Projects from Python: labels, how they were made, and making them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.annotation.prompts import object_items, plane_prompts
from napari_sam.core.imaging import to_rgb
from napari_sam.core.planes import read_plane
from napari_sam.errors import ImageError
from napari_sam.io.project import ProjectFolder, ProjectState, Snapshot, open_folder
from napari_sam.io.project_image import check_image, find_image

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from napari_sam.core.annotation.project import ImageIdentity
    from napari_sam.core.annotation.prompts import PromptItems
    from napari_sam.core.annotation.records import ObjectRecord, ObjectRecords
    from napari_sam.core.model import Model
    from napari_sam.core.planes import ArrayLike
    from napari_sam.types import BoolArray, Plane


def open_project(
    path: str | os.PathLike[str], *, image: ArrayLike | None = None
) -> Project:
    """Open a project without a window.

    Parameters
    ----------
    path : path
        A folder ``NAME.napari-sam``.
    image : array-like, optional
        The image, where its file has moved; it must have the same pixels.

    Returns
    -------
    Project
        For reading only if another program has it open; see ``read_only``.

    Raises
    ------
    FileFormatError
        If it is no project, damaged, or of a newer version.
    ImageError
        If ``image`` is another one.

    Examples
    --------
    >>> with open_project("cells.napari-sam") as project:  # doctest: +SKIP
    ...     for row in project.replay(model="vit_b").rows:
    ...         print(row.label, row.plane.index, row.iou)
    """
    folder = open_folder(path)
    try:
        project = Project(folder, folder.read())
        if image is not None:
            project.use_image(image)
    except BaseException:
        folder.close(finished=False)
        raise
    return project


class Project:
    """A project in memory; made by `open_project`.

    Parameters
    ----------
    folder : ProjectFolder
        Where it is.
    state : ProjectState
        What that holds.
    """

    def __init__(self, folder: ProjectFolder, state: ProjectState) -> None:
        self._folder = folder
        self._state = state
        self._image: ArrayLike | None = None

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._folder.path

    @property
    def read_only(self) -> bool:
        """Whether another program has it open, or its folder cannot be written."""
        return self._folder.is_read_only

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each part that could not be read."""
        return self._state.problems

    @property
    def identity(self) -> ImageIdentity:
        """Which image it belongs to, with axes, scale and units."""
        return self._folder.file.image

    @property
    def model(self) -> str:
        """Name of the model that was in use; empty if none was."""
        return self._folder.file.model.name

    @property
    def settings(self) -> dict[str, Any]:
        """What the user had chosen, as plain values."""
        return dict(self._folder.file.settings)

    @property
    def labels(self) -> npt.NDArray[Any]:
        """The labels, to be changed in place and written by `save`."""
        return self._state.labels

    @property
    def records(self) -> ObjectRecords:
        """How each object came to be."""
        return self._state.records

    @property
    def image(self) -> ArrayLike:
        """The image, read from its file when it is first asked for.

        Raises
        ------
        ImageError
            If its file is not where it was, or holds other pixels.
        """
        if self._image is None:
            self._image = find_image(self.identity, self.path)
        return self._image

    def use_image(self, image: ArrayLike) -> None:
        """Take this array for the image, whose file has moved.

        Raises
        ------
        ImageError
            If its pixels are others.
        """
        check_image(self.identity, image)
        self._image = image

    def save(self) -> None:
        """Write the labels and records as they are now.

        Raises
        ------
        FileFormatError
            If it can only be read, or the folder cannot be written.
        """
        state = self._state
        largest = int(state.labels.max(initial=0))
        state.next_label = max(state.next_label, largest + 1)
        self._folder.save(
            Snapshot(state.labels, state.records, state.next_label, state.proposals)
        )

    def replay(
        self,
        model: Model | str | None = None,
        *,
        image: ArrayLike | None = None,
        device: str = "auto",
    ) -> Replay:
        """Ask the prompts of all objects anew, and compare with the labels.

        Parameters
        ----------
        model : Model or str, optional
            Which model answers, or its name; that of the project by default.
        image : array-like, optional
            Of the same shape, to ask about instead: another channel, say.
        device : str
            Where a model that is given by name runs.

        Returns
        -------
        Replay
            One row per object and plane that has prompts.

        Raises
        ------
        ImageError
            If the image is not there or its shape is another.
        ModelError
            If there is no such model.

        Notes
        -----
        An answer is compared as the model gives it: neither cut by neighbors that
        were there first nor cleaned.
        """
        pixels = image if image is not None else self.image
        rgb = self.identity.rgb and len(pixels.shape) == len(self.identity.shape)
        shape = tuple(pixels.shape[:-1] if rgb else pixels.shape)
        if shape != self.labels.shape:
            raise ImageError(
                f"The image has shape {shape} but the project's labels have"
                f" {self.labels.shape}; give one of the same shape."
            )
        answering = self._model(model, device)
        rows = []
        for plane, asked in _by_plane(self.records).items():
            encoded = answering.encode_rgb(to_rgb(read_plane(pixels, plane, rgb=rgb)))
            stored = np.asarray(self.labels[plane.slicer])
            stored = stored.T if plane.is_transposed else stored
            for record, items in asked:
                for prompts in plane_prompts(items, plane, stored.shape):
                    if prompts.is_empty:
                        continue
                    result = encoded.predict_prompts(prompts)
                    mask = result.best
                    rows.append(
                        ReplayedMask(
                            record.label,
                            plane,
                            iou(mask, stored == record.label),
                            float(result.score),
                            mask,
                        )
                    )
        return Replay(answering.name, tuple(rows))

    def script(self) -> str:
        """Return Python that makes the same labels with `napari_sam.annotate`.

        The objects that were clicked, in order; objects of everything mode that
        nobody corrected have no prompts of their own, and are named in a comment.
        """
        from napari_sam.core.annotation.script import make_script

        file = self._folder.file
        return make_script(
            self.records,
            image=file.image.path,
            model=file.model.name or None,
            settings=file.settings,
            shape=self.labels.shape,
        )

    def close(self) -> None:
        """Let other programs have it."""
        self._folder.close()

    def _model(self, model: Model | str | None, device: str) -> Model:
        if model is not None and not isinstance(model, str):
            return model
        from napari_sam.models import DEFAULT_MODEL, load_model

        return load_model(model or self.model or DEFAULT_MODEL, device=device)


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedMask:
    """One object on one plane, asked anew.

    Parameters
    ----------
    label : int
        Of the object.
    plane : Plane
        Where.
    iou : float
        Of the new mask and the stored labels; 1 if both are empty.
    score : float
        Predicted IoU of the new mask.
    mask : bool array (H, W)
        The new mask.
    """

    label: int
    plane: Plane
    iou: float
    score: float
    mask: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What a model made of a project's prompts.

    Parameters
    ----------
    model : str
        Its name.
    rows : tuple of ReplayedMask
        By plane, then in the order in which the objects were written.
    """

    model: str
    rows: tuple[ReplayedMask, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def mean_iou(self) -> float:
        """Mean over all rows; NaN without any."""
        return float(np.mean([r.iou for r in self.rows])) if self.rows else float("nan")

    def __str__(self) -> str:
        lines = [f"{'label':>7}  {'plane':<16}  {'IoU':>5}  score"]
        for r in self.rows:
            at = ",".join("·" if i is None else str(i) for i in r.plane.index)
            lines.append(f"{r.label:>7}  {at:<16}  {r.iou:5.3f}  {r.score:5.3f}")
        lines.append(f"{self.model}: mean IoU {self.mean_iou:.3f} of {len(self)} masks")
        return "\n".join(lines)


def iou(a: BoolArray, b: BoolArray) -> float:
    """Return intersection over union of two masks; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def _by_plane(
    records: ObjectRecords,
) -> dict[Plane, list[tuple[ObjectRecord, PromptItems]]]:
    """Return the objects with prompts on each plane."""
    found: dict[Plane, list[tuple[ObjectRecord, PromptItems]]] = {}
    for record in records:
        for plane in record.items.planes():
            for items in object_items(record.items, plane):
                found.setdefault(plane, []).append((record, items))
    return found
