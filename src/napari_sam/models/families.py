"""Families of models, and of which of them a weights file is.

A family is a module that makes models of the weights files that it knows, and one
registration in :mod:`napari_sam.models.loading`.  Whoever needs to know what a model
can do asks its :class:`~napari_sam.core.model.Capabilities`, never what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_sam.core.model import Capabilities, Model
    from napari_sam.models.weights_file import StateDict, WeightsFile


class Loader(Protocol):
    """A function that makes a model of a weights file."""

    def __call__(
        self,
        file: WeightsFile,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Model:
        """Return a model called ``name`` that runs on a device in a precision.

        Raises
        ------
        ModelError
            If the weights do not fit, in one sentence that names the file.
        """


@dataclass(frozen=True, slots=True)
class Family:
    """Models of one construction.

    Parameters
    ----------
    name : str
        What its models are called together.
    matches : callable
        Whether a state dictionary is of this family, by its names and shapes; true of
        those of no other one.
    load : Loader
        What makes a model of such a file.
    capabilities : Capabilities
        What all its models can do; a model's own record may say more.
    """

    name: str
    matches: Callable[[StateDict], bool]
    load: Loader
    capabilities: Capabilities


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known to the loader.

    Raises
    ------
    ValueError
        If there is one of that name.
    """
    if family.name in _FAMILIES:
        raise ValueError(f"there is a family called {family.name} already")
    _FAMILIES[family.name] = family


def unregister(family: Family) -> None:
    """Forget a family; nothing happens to its models."""
    del _FAMILIES[family.name]


def find_family(tensors: StateDict) -> Family | None:
    """Return the family of a state dictionary, None if it is of none.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Entries of a weights file.
    """
    return next((f for f in _FAMILIES.values() if f.matches(tensors)), None)
