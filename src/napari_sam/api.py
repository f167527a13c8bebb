"""Everything mode and adaptation for scripts and the command line.

The other calls of the public API are methods of what
:func:`napari_sam.load_model` returns.  Nothing here needs napari.
"""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_sam.core.everything import search
from napari_sam.core.everything.search import EverythingSettings
from napari_sam.core.imaging import to_rgb
from napari_sam.core.model import Model
from napari_sam.core.names import check_names, check_type
from napari_sam.core.planes import read_plane
from napari_sam.core.steps import finish
from napari_sam.errors import ImageError, ModelError, PromptError
from napari_sam.types import Plane, Region

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.everything.search import Encode, ShouldStop
    from napari_sam.core.everything.settings import Prompts
    from napari_sam.core.planes import ArrayLike
    from napari_sam.training.adapt.adapted import Adapted
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.types import Progress, ProgressCallback, RGBArray

S = TypeVar("S", "EverythingSettings", "AdaptSettings")


def segment_everything(
    image: npt.ArrayLike,
    *,
    model: Model | None = None,
    prompts: Prompts | None = None,
    settings: EverythingSettings | None = None,
    region: Region | None = None,
    progress: ProgressCallback | None = None,
    **overrides: Any,
) -> Proposals:
    """Find all objects of a plane.

    Parameters
    ----------
    image : array (H, W) or (H, W, 3 | 4)
        One plane of any real type; NaN and infinities count as background.
    model : Model, optional
        From :func:`napari_sam.load_model`.  Without one the bundled model is
        loaded for this call; load it yourself to segment many images.
    prompts : {"auto", "grid", "objects"}, optional
        Where the model is asked: on a grid, or where it sees objects, which
        takes far fewer prompts and needs a model that can.  What ``settings``
        say by default, and those take the objects if the model can.
    settings : EverythingSettings, optional
        ``EverythingSettings()`` if not given: thresholds are those that come with
        the model's weights, or those of the reference implementation of SAM where
        there are none.
    region : Region, optional
        Search this rectangle only.
    progress : callable, optional
        Called with a `Progress` after every few points.  An exception that it
        raises ends the run, which is a way to cancel; see `iter_everything` to
        keep what was found so far.
    **overrides
        Single settings by name, for example ``points_per_side=16``.

    Returns
    -------
    Proposals
        Scored masks that can be filtered without inference and turned into a
        label image.

    Raises
    ------
    ImageError
        If the image is empty, not one plane, or of an unusable type.
    SettingsError
        If a setting is unknown or outside its range.
    ModelError
        If the model cannot be loaded or the device fails.

    Examples
    --------
    >>> from skimage.data import coins
    >>> proposals = segment_everything(coins(), points_per_side=4)
    >>> proposals.filter(min_score=0.8, min_area=50).to_labels().shape
    (303, 384)
    """
    if prompts is not None:
        overrides["prompts"] = prompts
    return search.run(
        iter_everything(
            image, model=model, settings=settings, region=region, **overrides
        ),
        progress,
    )


def iter_everything(
    image: npt.ArrayLike,
    *,
    model: Model | None = None,
    settings: EverythingSettings | None = None,
    region: Region | None = None,
    encode: Encode | None = None,
    should_stop: ShouldStop | None = None,
    **overrides: Any,
) -> Generator[Progress, None, Proposals]:
    """Find all objects of a plane; yield progress, return proposals.

    The generator form of `segment_everything`, with its parameters and errors.

    Parameters
    ----------
    image, model, settings, region, **overrides
        As for `segment_everything`.
    encode : callable, optional
        Encodes RGB uint8 (H, W, 3) instead of ``model``, for example
        ``Engine.encode``, which remembers embeddings.
    should_stop : callable, optional
        Asked after every few points; when it returns True, the generator
        returns what it has found so far.

    Yields
    ------
    Progress
        In points.

    Returns
    -------
    Proposals
        As for `segment_everything`.
    """
    chosen = _settings(settings, overrides)
    _check_region(region)
    _check_model(model)
    rgb = to_rgb(image)
    return (
        yield from search.iter_everything(
            rgb,
            encode or _model(model).encode_rgb,
            chosen,
            region=region,
            should_stop=should_stop,
        )
    )


def iter_everything_stack(
    stack: ArrayLike,
    *,
    rgb: bool = False,
    model: Model | None = None,
    settings: EverythingSettings | None = None,
    encode: Encode | None = None,
    should_stop: ShouldStop | None = None,
    **overrides: Any,
) -> Generator[Progress | tuple[Plane, Proposals], None, None]:
    """Find all objects of every plane of a stack, one plane after another.

    Parameters
    ----------
    stack : array (..., H, W), or (..., H, W, 3 | 4) for ``rgb``
        numpy, dask or zarr; one plane is loaded at a time.
    rgb : bool
        Whether the last axis holds color channels.
    model, settings, encode, should_stop, **overrides
        As for `iter_everything`.

    Yields
    ------
    Progress or (Plane, Proposals)
        The proposals of a plane as soon as it is finished.  Stopping keeps the
        finished planes and drops the one at work.

    Raises
    ------
    ImageError
        If the stack has fewer than two axes or no pixels, or a plane cannot be
        read.
    SettingsError, ModelError
        As for `segment_everything`.
    """
    chosen = _settings(settings, overrides)
    _check_model(model)
    if not hasattr(stack, "shape"):
        raise ImageError(
            f"The stack is a {type(stack).__name__}; pass an array, for example"
            " numpy.stack(planes)."
        )
    planes = [
        (plane, partial(_read_rgb, stack, plane, rgb))
        for plane in leading_planes(tuple(stack.shape[:-1] if rgb else stack.shape))
    ]
    if not planes:
        raise ImageError(
            f"The image has shape {tuple(stack.shape)} and so no pixels;"
            " choose another."
        )
    yield from search.iter_everything_stack(
        planes, encode or _model(model).encode_rgb, chosen, should_stop=should_stop
    )


def adapt(
    images: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | Sequence[ArrayLike],
    *,
    base: str | Path | None = None,
    name: str | None = None,
    always: bool = False,
    settings: AdaptSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    store: EmbeddingStore | None = None,
    progress: ProgressCallback | None = None,
    **overrides: Any,
) -> Adapted:
    """Let a model learn from labeled objects of your own images.

    A fifth of the objects is kept aside and says how good the model was and has
    become.  What is not labeled is taken for unknown, not for background.

    Parameters
    ----------
    images : array (H, W), (..., H, W) or (..., H, W, C), or a list of such
        An image or stack of any real type; a list holds one image each.
    labels : integer array (H, W) or (..., H, W), or a list of such
        One number per object, 0 where there is none.  Equal numbers on planes
        of one stack are one object.
    base : str or Path, optional
        The model to begin with: a name or a weights file; the default model if
        not given.
    name : str, optional
        Save the result under this name (``name-2`` if that is taken), so that
        :func:`napari_sam.load_model` finds it, in later sessions too.
    always : bool
        Save it even if it is not better than the base.
    settings : AdaptSettings, optional
        What to train and for how long.
    seed : int
        Of which objects are kept aside and of all else that is random.
    device, dtype : str
        As for :func:`napari_sam.load_model`.
    store : EmbeddingStore, optional
        Where embeddings are kept; the user's cache folder by default.
    progress : callable, optional
        Called with a `Progress` several times a second.  An exception that it
        raises ends the run; nothing is written then.
    **overrides
        Single settings by name, for example ``parts="decoder+neck"``.

    Returns
    -------
    Adapted
        ``improved``, ``before`` and ``after``; ``model()`` is ready to use, and
        ``name`` is what it was saved as, None if it was not.

    Raises
    ------
    DataError
        If the labels do not fit or have fewer than five objects.
    SettingsError
        If the name or a setting is not usable.
    ModelError
        If the base cannot be loaded or the device fails.
    FileFormatError
        If the result cannot be saved; nothing is left of it.

    Examples
    --------
    >>> better = adapt(image, labels, name="my-cells")  # doctest: +SKIP
    >>> better.summary  # doctest: +SKIP
    '1 click 0.61 → 0.74, 3 clicks 0.72 → 0.80, box 0.80 → 0.85 on 10 objects ...'
    >>> plane = napari_sam.load_model("my-cells").encode(image)  # doctest: +SKIP
    """
    from napari_sam.models.user_models import check_name

    if name is not None:
        # Before the work, not after it.
        check_name(name)
    adapted = finish(
        iter_adapt(
            images,
            labels,
            base=base,
            settings=settings,
            seed=seed,
            device=device,
            dtype=dtype,
            store=store,
            **overrides,
        ),
        progress,
    )
    if name is not None and (adapted.improved or always):
        return replace(adapted, name=adapted.save(name).stem)
    return adapted


def iter_adapt(
    images: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | Sequence[ArrayLike],
    *,
    base: str | Path | None = None,
    settings: AdaptSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    store: EmbeddingStore | None = None,
    **overrides: Any,
) -> Generator[Progress, None, Adapted]:
    """Let a model learn; yield progress, return the result.

    The generator form of `adapt`, with its parameters and errors.  It saves
    nothing: call ``save(name)`` on the result.  Closing it cancels.

    Yields
    ------
    Progress
        With the time left in its text.

    Returns
    -------
    Adapted
        As for `adapt`.
    """
    from napari_sam.models import DEFAULT_MODEL
    from napari_sam.training.adapt.samples import iter_adapt_arrays
    from napari_sam.training.adapt.settings import AdaptSettings

    return (
        yield from iter_adapt_arrays(
            images,
            labels,
            DEFAULT_MODEL if base is None else base,
            settings=_overridden(settings or AdaptSettings(), overrides),
            seed=seed,
            device=device,
            dtype=dtype,
            store=store,
        )
    )


def leading_planes(shape: tuple[int, ...]) -> list[Plane]:
    """Return the planes of the last two axes, in the order they lie in memory.

    Raises
    ------
    ImageError
        If there are fewer than two axes.
    """
    if len(shape) < 2:
        raise ImageError(
            f"The image has shape {shape}; pass (rows, columns) or a stack of such."
        )
    displayed = (len(shape) - 2, len(shape) - 1)
    return [Plane(displayed, (*at, None, None)) for at in np.ndindex(shape[:-2])]


def _read_rgb(stack: ArrayLike, plane: Plane, rgb: bool) -> RGBArray:
    return to_rgb(read_plane(stack, plane, rgb=rgb))


def _model(model: Model | None) -> Model:
    if model is not None:
        return model
    from napari_sam.models import load_model

    return load_model()


def _check_model(model: object) -> None:
    if model is not None and not isinstance(model, Model):
        raise ModelError(
            f"model is {model!r}; pass what load_model returns, not a name."
        )


def _check_region(region: object) -> None:
    if region is None:
        return
    sides = () if not isinstance(region, Region) else astuple(region)
    if not sides or not all(isinstance(side, int | np.integer) for side in sides):
        raise PromptError(
            f"region is {region!r}; pass napari_sam.Region(row0, col0, row1, col1) of"
            " whole pixels."
        )


def _settings(
    settings: EverythingSettings | None, overrides: dict[str, Any]
) -> EverythingSettings:
    if settings is not None:
        check_type("settings", settings, EverythingSettings, "an EverythingSettings")
    return _overridden(settings or EverythingSettings(), overrides)


def _overridden(settings: S, overrides: dict[str, Any]) -> S:
    check_names(overrides, [field.name for field in fields(settings)])
    return replace(settings, **overrides)
