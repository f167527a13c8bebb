"""Kinds of image encoders that a SAM network may have, known by their weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam.core import views
from napari_sam.errors import ModelError
from napari_sam.models.metadata import ARCHITECTURE
from napari_sam.models.sam1.mask_decoder import DIM
from napari_sam.models.sam1.tiny_vit import TinyViT
from napari_sam.models.sam1.vit import SamViT, ViTShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_sam.models.weights_file import StateDict, WeightsFile

SIDE = 1024
"""Of SAM's input in pixels."""
_SIDES = views.SIDE, 4096  # no view of a plane is larger than the whole
_VIT_NAMES = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
_PREFIX = "image_encoder."
_KNOWN = "choose the weights of SAM, MobileSAM, MedSAM or micro-sam"

ImageEncoder = TinyViT | SamViT


@dataclass(frozen=True, slots=True)
class EncoderKind:
    """A kind of image encoder.

    Parameters
    ----------
    name : str
        What the models that have it are called.
    encoder : type
        Its class, which says what it can do.
    entry : str
        Entry of a state dictionary that only this kind has.
    build : callable
        Takes a weights file and returns an empty encoder that fits, what the
        architecture is called, and the side of the input in pixels.
    """

    name: str
    encoder: type[ImageEncoder]
    entry: str
    build: Callable[[WeightsFile], tuple[ImageEncoder, str, int]]

    def matches(self, tensors: StateDict) -> bool:
        """Return whether weights are of this kind."""
        return self.entry in tensors


def tiny_vit_name(side: int) -> str:
    """Return what a network with MobileSAM's encoder and this input is called.

    Parameters
    ----------
    side : int
        Of its input in pixels: a convolutional encoder does not show it otherwise.
    """
    return "vit_t" if side == SIDE else f"vit_t_{side}"


def encoder_kind(file: WeightsFile) -> EncoderKind:
    """Return the kind of a file's image encoder.

    Raises
    ------
    ModelError
        If it is of no known kind.
    """
    for kind in ENCODER_KINDS:
        if kind.matches(file.tensors):
            return kind
    raise ModelError(
        f"{file.path.name} has an image encoder of an unknown kind; {_KNOWN}."
    )


def _tiny_vit(file: WeightsFile) -> tuple[ImageEncoder, str, int]:
    side = _tiny_vit_side(file.about.get(ARCHITECTURE, ""), file.path)
    return TinyViT(), tiny_vit_name(side), side


def _tiny_vit_side(name: str, path: Path) -> int:
    """Return the side of the input that a name tells; SAM's if it tells none."""
    told = re.fullmatch(r"vit_t_(\d{1,6})", name)
    if told is None:
        return SIDE
    side = int(told[1])
    if side % TinyViT.patch or not _SIDES[0] <= side <= _SIDES[1]:
        raise ModelError(
            f"{path.name} says that its input is {side} pixels a side, which is no "
            f"multiple of {TinyViT.patch} from {_SIDES[0]} to {_SIDES[1]}; get the "
            f"file again."
        )
    return side


def _vit(file: WeightsFile) -> tuple[ImageEncoder, str, int]:
    shape = _vit_shape(file)
    name = _VIT_NAMES.get((shape.dim, shape.depth), f"vit_{shape.dim}x{shape.depth}")
    return SamViT(shape), name, shape.grid * SamViT.patch


def _vit_shape(file: WeightsFile) -> ViTShape:
    """Read a ViT's shape off its weights."""
    encoder = {
        k.removeprefix(_PREFIX): tuple(v.shape)
        for k, v in file.tensors.items()
        if k.startswith(_PREFIX)
    }
    try:
        depth = len({k.split(".")[1] for k in encoder if k.startswith("blocks.")})
        spans = [encoder[f"blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
        _, grid, _, dim = encoder["pos_embed"]
        _, head = encoder["blocks.0.attn.rel_pos_h"]
        mlp, _ = encoder["blocks.0.mlp.lin1.weight"]
        out, *_ = encoder["neck.0.weight"]
        sizes = [(length + 1) // 2 for length, _ in spans]
    except KeyError as error:
        raise _unknown(file, f"no {error}") from error
    except ValueError as error:
        raise _unknown(file, "an entry has too few or too many axes") from error
    if min(grid, dim, head, mlp, *sizes) < 1 or dim % head or out != DIM:
        raise _unknown(
            file, f"{grid} cells, width {dim}, heads of {head}, {out} channels"
        )
    window = min(sizes)
    return ViTShape(
        dim=dim,
        depth=depth,
        heads=dim // head,
        grid=grid,
        window=window,
        global_blocks=tuple(
            i for i, s in enumerate(sizes) if s == grid and grid != window
        ),
        mlp=mlp,
        out=out,
    )


def _unknown(file: WeightsFile, why: str) -> ModelError:
    return ModelError(
        f"{file.path.name} has an image encoder of an unknown kind ({why}); {_KNOWN}."
    )


ENCODER_KINDS = (
    EncoderKind(
        "MobileSAM", TinyViT, f"{_PREFIX}patch_embed.seq.0.c.weight", _tiny_vit
    ),
    EncoderKind("SAM", SamViT, f"{_PREFIX}pos_embed", _vit),
)
"""The first that matches is taken."""
