"""Propagation through stacks for scripts and the command line."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.core.masks import PostProcessing, clean
from napari_sam.core.model import Model
from napari_sam.core.names import check_names, check_type
from napari_sam.core.refine import refine
from napari_sam.core.steps import finish
from napari_sam.core.volumes.growing import GrownSlice, iter_grow, write_grown
from napari_sam.core.volumes.label_stack import LabelStack
from napari_sam.core.volumes.propagation import (
    PropagatedSlice,
    PropagationSettings,
    Source,
)
from napari_sam.core.volumes.propagation import (
    iter_propagate as iter_slices,
)
from napari_sam.core.volumes.slices import Slices
from napari_sam.errors import LabelsError, ModelError, PromptError
from napari_sam.types import MaskCrop, PointPrompt, Progress, PromptSet

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam.core.everything.search import Encode
    from napari_sam.core.model import EncodedPlane
    from napari_sam.core.planes import ArrayLike
    from napari_sam.core.volumes.label_stack import Labels
    from napari_sam.types import BoolArray, FloatArray, ProgressCallback

_KEPT = 4  # encoded slices, for those that two spans have in common


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """An object through a stack.

    ``Z`` is the length of the axis that it was followed along.

    Parameters
    ----------
    mask : bool array of the stack's shape
        The object; (Z, H, W) along the first axis.  Ghosts are not in it.
    confidence : float32 array (Z,)
        0 to 1; 1 where it was prompted, 0 where nothing was found.
    prompted : bool array (Z,)
        Slices that were given.
    is_ghost : bool array (Z,)
        Slices beyond a proposed end in which something was found; see ``slices``.
    slices : dict of int to PropagatedSlice
        All of them as crops, ghosts included.
    axis : int
        The axis.
    """

    mask: BoolArray
    confidence: FloatArray
    prompted: BoolArray
    is_ghost: BoolArray
    slices: dict[int, PropagatedSlice]
    axis: int = 0

    @property
    def least_sure(self) -> int | None:
        """Slice to look at first, None if all were prompted."""
        found = [
            s
            for s in self.slices.values()
            if not s.is_ghost and s.source is not Source.PROMPTED
        ]
        return min(found, key=lambda s: s.confidence).position if found else None


Seed = Any
"""A mask, a PromptSet, a box or points; see `propagate`."""


def propagate(
    stack: ArrayLike,
    prompts: Mapping[int, Seed],
    *,
    model: Model | None = None,
    limits: tuple[int, int] | None = None,
    axis: int = 0,
    time: bool = False,
    rgb: bool = False,
    encode: Encode | None = None,
    settings: PropagationSettings | None = None,
    progress: ProgressCallback | None = None,
    **overrides: Any,
) -> Propagated:
    """Follow one object through a stack or a time-lapse.

    Parameters
    ----------
    stack : array (Z, H, W), or (Z, H, W, 3 | 4) for ``rgb``
        numpy, dask or zarr, of any real type; one plane is loaded at a time.
    prompts : mapping of int
        Of one slice or more, what is known of the object in it: a mask (H, W) of bool
        or integers, a `PromptSet`, a box ``(row0, column0, row1, column1)``, or points
        on it, (N, 2) of rows and columns.  Masks are kept as they are.
    model : Model, optional
        From :func:`napari_sam.load_model`; the bundled one if not given.
    limits : tuple of int, optional
        First slice, and one past the last; the whole stack by default.
    axis : int
        The axis to follow it along.  Slices are planes of the other two, in order.
    time : bool
        Whether that axis is time.
    rgb : bool
        Whether a last axis holds color channels.
    encode : callable, optional
        Encodes RGB uint8 (H, W, 3) instead of ``model``, for example
        ``Engine.encode``, which remembers embeddings.
    settings : PropagationSettings, optional
        How; ``time`` is added to them.
    progress : callable, optional
        Called with a `Progress` after every slice.
    **overrides
        Single settings by name, for example ``find_ends=False`` to follow it to the
        limits.

    Returns
    -------
    Propagated

    Raises
    ------
    ImageError
        If the stack is not 3-D, has one slice, or one cannot be read.
    PromptError
        If a prompt is outside the stack or the limits, empty, everywhere, or cannot be
        understood, or nothing is found there.
    SettingsError, ModelError
        If a setting is unknown or out of range; if the device fails.

    Examples
    --------
    >>> found = propagate(stack, {12: mask})  # doctest: +SKIP
    >>> found.mask.sum(axis=(1, 2)), found.least_sure  # doctest: +SKIP
    >>> found = propagate(stack, {12: mask, 17: corrected})  # doctest: +SKIP
    """
    slices = Slices.of(stack, axis, rgb, limits)
    run = _Run.checked(slices, prompts, model, encode, settings, time, overrides)
    total = slices.limits[1] - slices.limits[0]
    done = 0

    def report(_: object) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(Progress(min(done, total), total, f"{done} slices"))

    return finish(run.steps(), report)


def iter_propagate(
    stack: ArrayLike,
    prompts: Mapping[int, Seed],
    *,
    model: Model | None = None,
    limits: tuple[int, int] | None = None,
    axis: int = 0,
    time: bool = False,
    rgb: bool = False,
    encode: Encode | None = None,
    settings: PropagationSettings | None = None,
    **overrides: Any,
) -> Generator[tuple[int, BoolArray, float], None, Propagated]:
    """Follow one object through a stack; yield each slice as soon as it is known.

    The generator form of `propagate`, with its parameters and errors.  Closing it
    cancels, and what was yielded before is as good as ever.

    Yields
    ------
    z : int
        Slice along the axis: the prompted ones first, then the nearest to one of them.
    mask : bool array (H, W)
        The object in it.  Ghosts, beyond a proposed end, are not yielded.
    confidence : float
        0 to 1; 1 where it was prompted.

    Returns
    -------
    Propagated
        As for `propagate`.
    """
    slices = Slices.of(stack, axis, rgb, limits)
    run = _Run.checked(slices, prompts, model, encode, settings, time, overrides)
    return (yield from run.steps())


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One call, its arguments checked."""

    slices: Slices
    prompts: dict[int, MaskCrop | PromptSet]
    encode: Encode
    settings: PropagationSettings

    @staticmethod
    def checked(
        slices: Slices,
        prompts: object,
        model: Model | None,
        encode: Encode | None,
        settings: PropagationSettings | None,
        time: bool,
        overrides: dict[str, Any],
    ) -> _Run:
        check_names(overrides, [field.name for field in fields(PropagationSettings)])
        if settings is not None:
            check_type(
                "settings", settings, PropagationSettings, "a PropagationSettings"
            )
        chosen = replace(settings or PropagationSettings(), **overrides)
        if time:
            chosen = replace(chosen, time=time)
        _check_model(model)
        seeds = _checked_prompts(prompts, slices)
        if encode is None:
            encode = _loaded(model).encode_rgb
        return _Run(slices, seeds, encode, chosen)

    def steps(self) -> Generator[tuple[int, BoolArray, float], None, Propagated]:
        size = self.slices.size
        planes = _Planes(self.slices.with_contrast(self.prompts), self.encode)
        seeds = {
            z: seed if isinstance(seed, MaskCrop) else _found(planes.at(z), seed, z)
            for z, seed in sorted(self.prompts.items())
        }
        known: dict[int, PropagatedSlice] = {}
        for z, mask in seeds.items():
            known[z] = PropagatedSlice(z, mask, 1.0, Source.PROMPTED)
            yield z, mask.full(size), 1.0
        for step in iter_slices(
            planes.iter_at, seeds, self.slices.limits, size, self.settings
        ):
            if step is None:
                continue
            known[step.position] = step
            if not step.is_ghost:
                yield step.position, step.mask.full(size), step.confidence
        return self._result(known)

    def _result(self, known: dict[int, PropagatedSlice]) -> Propagated:
        shape, axis, size = self.slices.shape, self.slices.axis, self.slices.size
        mask = np.zeros(shape, bool)
        along = np.moveaxis(mask, axis, 0)
        confidence = np.zeros(shape[axis], np.float32)
        prompted, is_ghost = np.zeros((2, shape[axis]), bool)
        for z, one in known.items():
            prompted[z] = one.source is Source.PROMPTED
            is_ghost[z] = one.is_ghost
            confidence[z] = one.confidence
            if not one.is_ghost:
                along[z] = one.mask.full(size)
        return Propagated(mask, confidence, prompted, is_ghost, known, axis)


def grow(
    stack: ArrayLike,
    labels: Labels,
    *,
    model: Model | None = None,
    rgb: bool = False,
    encode: Encode | None = None,
    progress: ProgressCallback | None = None,
) -> npt.NDArray[Any]:
    """Grow linked objects along z into slices in which they were not found.

    An object is propagated from its ends where its area is still half of its largest,
    and across slices that it is missing in, until its end is proposed, into pixels that
    nobody has.  No pixel of the labels changes its object.

    Parameters
    ----------
    stack : array (Z, H, W), or (Z, H, W, 3 | 4) for ``rgb``
        numpy, dask or zarr, of any real type; one plane is loaded at a time.
    labels : integer array (Z, H, W), or a sequence of arrays (H, W)
        With ids through the stack, as `link` gives them; 0 is background.
    model : Model, optional
        From :func:`napari_sam.load_model`; the bundled one if not given.
    rgb : bool
        Whether a last axis holds color channels.
    encode : callable, optional
        Encodes RGB uint8 (H, W, 3) instead of ``model``, for example
        ``Engine.encode``, which remembers embeddings.
    progress : callable, optional
        Called with a `Progress` before every object.  An exception that it raises
        ends the run.

    Returns
    -------
    integer array (Z, H, W)
        A copy, of the type of the labels.

    Raises
    ------
    ImageError, LabelsError
        If the stack or the labels are none, or differ in shape; if a slice cannot be
        read.
    ModelError
        If the device fails.

    Examples
    --------
    >>> cells = grow(stack, link(slices, min_extent=2))  # doctest: +SKIP
    """
    slices = Slices.of(stack, rgb=rgb)
    known = LabelStack(labels)
    if known.shape != slices.shape:
        raise LabelsError(
            f"The labels have shape {known.shape} and the stack {slices.shape}; pass"
            " those of the same slices."
        )
    _check_model(model)
    if encode is None:
        # Objects come one after another, so slices are asked for again and again.
        store = EmbeddingStore(disk_bytes=0)
        encode = Engine(_loaded(model), store).encode
    planes = _Planes(slices.with_contrast(()), encode)
    grown = np.stack([known[z] for z in range(len(known))]).astype(known.dtype)
    for step in iter_grow(planes.iter_at, grown.copy()):
        if isinstance(step, GrownSlice):
            write_grown(grown, [step])
        elif step is not None and progress is not None:
            progress(step)
    return grown


class _Planes:
    """Encoded slices, of which the last few are kept."""

    def __init__(self, slices: Slices, encode: Encode) -> None:
        self._slices = slices
        self._encode = encode
        self._kept: OrderedDict[int, EncodedPlane] = OrderedDict()

    def at(self, position: int) -> EncodedPlane:
        """Return an encoded slice."""
        plane = self._kept.get(position)
        if plane is None:
            encoded = self._encode(self._slices.rgb_of(position))
            # It may be encoded at once or in steps.
            plane = finish(encoded) if isinstance(encoded, Generator) else encoded
            while len(self._kept) >= _KEPT:
                self._kept.popitem(last=False)
        self._kept[position] = plane
        self._kept.move_to_end(position)
        return plane

    def iter_at(self, position: int) -> Generator[None, None, EncodedPlane]:
        """Do what `at` does in steps."""
        yield
        return self.at(position)


def _found(plane: EncodedPlane, prompts: PromptSet, position: int) -> MaskCrop:
    """Return what the model finds at prompts."""
    found = refine(plane, prompts).crop()
    clicks = [(p.row, p.column) for p in prompts.points if p.positive]
    mask = clean(found, PostProcessing(), clicks, shape=plane.frame.image_size)
    if mask.region.is_empty:
        raise PromptError(
            f"Nothing is found at the prompts in slice {position}; give a box, or the"
            " mask."
        )
    return mask


def _checked_prompts(
    prompts: object, slices: Slices
) -> dict[int, MaskCrop | PromptSet]:
    if not isinstance(prompts, Mapping):
        raise PromptError(
            f"prompts is a {type(prompts).__name__}; pass a dict from slices to masks,"
            " boxes or points, for example {12: mask}."
        )
    if not prompts:
        raise PromptError("No slice is prompted; mark the object in one at least.")
    known = {slices.check_position(z): value for z, value in prompts.items()}
    return {z: _seed(value, z, slices.size) for z, value in known.items()}


def _seed(value: Any, position: int, shape: tuple[int, int]) -> MaskCrop | PromptSet:
    """Return what is known of the object in one slice."""
    where = f"The prompt in slice {position}"
    if isinstance(value, MaskCrop):
        value = value.full(shape)
    if isinstance(value, PromptSet):
        if value.is_empty:
            raise PromptError(
                f"{where} has neither a box nor a mask nor a point on the object; give"
                " one."
            )
        return value
    try:
        array = np.asarray(value)
        is_number = array.dtype.kind in "biuf"
    except ValueError:  # lists of different lengths
        is_number = False
    if not is_number:
        raise PromptError(
            f"{where} is a {type(value).__name__}; pass a mask, a PromptSet, a box or"
            " points."
        )
    if array.shape == shape and array.dtype.kind in "biu":
        mask = array != 0
        if not mask.any():
            raise PromptError(
                f"The mask in slice {position} is empty; mark the object there, or"
                " leave the slice out."
            )
        if mask.all():
            raise PromptError(
                f"The mask in slice {position} covers all of it; mark the object only."
            )
        return MaskCrop.from_full(mask)
    if array.shape == (4,):
        row0, col0, row1, col1 = (float(n) for n in array)
        return PromptSet(box=(row0, col0, row1, col1))
    if array.shape == (2,) or (array.ndim == 2 and array.shape[1] == 2 and array.size):
        points = np.atleast_2d(array).tolist()
        return PromptSet(tuple(PointPrompt(float(r), float(c)) for r, c in points))
    raise PromptError(
        f"{where} has shape {array.shape}; pass a mask of {shape} of bool or integers,"
        " a box of four numbers, or points (N, 2)."
    )


def _check_model(model: object) -> None:
    """Refuse what is no model."""
    if model is not None and not isinstance(model, Model):
        raise ModelError(
            f"model is {model!r}; pass what load_model returns, not a name."
        )


def _loaded(model: Model | None) -> Model:
    if model is not None:
        return model
    from napari_sam.models import load_model

    return load_model()
