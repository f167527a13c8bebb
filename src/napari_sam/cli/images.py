"""The image that a command reads, and the labels that it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.cli.outputs import check_outputs
from napari_sam.cli.report import say
from napari_sam.errors import ImageError, PromptError

if TYPE_CHECKING:
    import argparse

    import numpy as np
    import numpy.typing as npt

    from napari_sam.core.embeddings.engine import Engine
    from napari_sam.io import ImageFile
    from napari_sam.types import Plane, RGBArray


def check_files(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it."""
    from napari_sam.io.labels import check_tiff_name
    from napari_sam.io.preview import check_preview_name
    from napari_sam.models import find_model

    check_tiff_name(options.out)
    if options.preview is not None:
        check_preview_name(options.preview)
    check_outputs(
        (options.out, options.preview),
        inputs=[options.image],
        overwrite=options.overwrite,
    )
    find_model(options.model)


def open_image(options: argparse.Namespace) -> ImageFile:
    """Open the image, and say what is not, or may not be, as the user thinks."""
    from napari_sam.io import read_image

    image = read_image(options.image)
    for note in image.notes:
        # Even if quiet: nothing is left out silently.
        say(f"note: {options.image}: {note}", quiet=False)
    return image


def engine_of(options: argparse.Namespace) -> Engine:
    """Load the model."""
    from napari_sam.core.embeddings.engine import Engine
    from napari_sam.core.embeddings.store import EmbeddingStore
    from napari_sam.models import load_model

    model = load_model(options.model, device=options.device, dtype=options.dtype)
    if options.no_cache:
        return Engine(model, EmbeddingStore(ram_bytes=0, disk_bytes=0))
    return Engine(model, EmbeddingStore())


def remembering(engine: Engine, options: argparse.Namespace) -> Engine:
    """Return an engine of the same model that keeps embeddings, if only in memory."""
    from napari_sam.core.embeddings.engine import Engine
    from napari_sam.core.embeddings.store import EmbeddingStore

    if not options.no_cache:
        return engine
    return Engine(engine.model, EmbeddingStore(disk_bytes=0))


def chosen_plane(image: ImageFile, position: tuple[int, ...] | None) -> Plane:
    """Return the plane asked for, or the only one."""
    from napari_sam.types import Plane

    lead = image.shape[:-2]
    if position is None:
        if lead:
            example = ",".join(str(n // 2) for n in lead)
            raise ImageError(
                f"{image.name} is a stack of shape {image.shape} with the axes"
                f" {image.label_axes}; choose a plane, for example --plane {example},"
                " or segment everything with --all-planes."
            )
        position = ()
    if len(position) != len(lead) or any(
        not 0 <= i < n for i, n in zip(position, lead, strict=True)
    ):
        raise PromptError(
            f"The plane {','.join(map(str, position))} is not in {image.name}, whose"
            f" leading axes have the lengths {lead}; count from 0."
        )
    return Plane((len(lead), len(lead) + 1), (*position, None, None))


def pixels_of(image: ImageFile, plane: Plane) -> npt.NDArray[np.generic]:
    """Return the pixels of a plane."""
    from napari_sam.core.planes import read_plane

    return read_plane(image.data, plane, rgb=image.rgb)


def write_result(
    options: argparse.Namespace,
    image: ImageFile,
    labels: npt.NDArray[np.uint32],
    shown: tuple[RGBArray, npt.NDArray[np.uint32]] | None,
) -> None:
    """Write the labels, and a plane and its labels as preview if there is one."""
    from napari_sam.io import write_labels, write_preview

    write_labels(options.out, labels, image)
    say(f"wrote {options.out}", quiet=options.quiet)
    if shown is not None:
        write_preview(options.preview, *shown)
        say(f"wrote {options.preview}", quiet=options.quiet)


def objects(count: int) -> str:
    """Return a number of objects in words."""
    return "1 object" if count == 1 else f"{count} objects"
