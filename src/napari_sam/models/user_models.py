"""The user's own models: names for new ones, copies, and removal.

Imports no torch.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from napari_sam.core.atomic import replacing
from napari_sam.errors import FileFormatError, ModelError, SettingsError
from napari_sam.models.registry import find_model, list_models, models_folder

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".safetensors"
_NAME = re.compile(r"[^\W_][\w .+-]{0,62}[\w+]|[^\W_]")


def check_name(name: str) -> str:
    """Return a name for a model without blanks around it.

    Parameters
    ----------
    name : str
        Letters, digits, blanks, and ``. _ + -``; begins with a letter or digit
        and ends in neither a blank nor a dot nor a dash; at most 64 characters.

    Raises
    ------
    SettingsError
        If it is not usable as the name of a file everywhere.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a model; use up to 64 letters, digits, "
            f"blanks, dots and dashes, a letter or digit first."
        )
    return name


def free_path(name: str, folder: Path | None = None) -> Path:
    """Return the file for a new model: of this name, or ``name-2`` if that is taken.

    Parameters
    ----------
    name : str
        What the user would like to call it.
    folder : Path, optional
        Where it goes; :func:`~napari_sam.models.models_folder` by default.

    Raises
    ------
    SettingsError
        If the name is not usable.
    """
    name = check_name(name)
    place = models_folder() if folder is None else folder
    taken = {spec.name.casefold() for spec in list_models(place)}
    path, number = place / (name + SUFFIX), 1
    # Some file systems take names for one that differ in case only.
    while path.stem.casefold() in taken or os.path.lexists(path):
        number += 1
        path = place / f"{name}-{number}{SUFFIX}"
    return path


def remove_model(name: str) -> Path:
    """Delete a model of the user's.

    Parameters
    ----------
    name : str
        As :func:`~napari_sam.models.list_models` shows it.

    Returns
    -------
    Path
        The file that is gone.

    Raises
    ------
    ModelError
        If there is no such model, or it came with the package.
    FileFormatError
        If its file cannot be deleted.
    """
    own = {spec.name: spec for spec in list_models() if not spec.bundled}
    if name not in own:
        if any(spec.name == name for spec in list_models()):
            raise ModelError(
                f"{name!r} came with napari-sam and is not removed; only your own "
                f"models in {models_folder()} are."
            )
        known = ", ".join(own) or "none"
        raise ModelError(
            f"There is no model of yours called {name!r}; yours are: {known}."
        )
    path = own[name].path
    try:
        path.unlink()
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be removed ({error.strerror or error}); check who may "
            f"write there."
        ) from error
    return path


def export_model(name: str, target: Path) -> Path:
    """Copy a model's weights file, for another computer or person.

    Parameters
    ----------
    name : str
        As :func:`~napari_sam.models.list_models` shows it.
    target : Path
        The new file, or a folder that gets one of the same name.  An existing
        file is replaced.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    ModelError
        If there is no such model.
    FileFormatError
        If the file cannot be written.
    """
    source = find_model(name).path
    if target.is_dir():
        target = target / source.name
    if target.suffix != source.suffix:
        raise FileFormatError(
            f"{target.name} is not a name for these weights; choose one that ends in "
            f"{source.suffix}."
        )
    if target.exists() and target.samefile(source):
        raise FileFormatError(f"{target} is the model itself; choose another place.")
    with replacing(target) as aside:
        shutil.copyfile(source, aside)
    return target
