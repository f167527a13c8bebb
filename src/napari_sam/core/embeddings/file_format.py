"""The file format of one stored embedding: safetensors with a checksum.

Tensors have their names; everything else is in the metadata.  The checksum
covers both, so that any damage (a file cut short, a flipped bit, a tensor that
is missing, a file under another's name) reads as `DamagedEntry`, never as a
wrong embedding.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.types import Embedding, Frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

FORMAT = "napari-sam embedding 2"
"""Part of an entry and of its key: one of another format is never asked for."""


class DamagedEntry(Exception):
    """The bytes are not the entry they should be."""


def dumps(key: str, embedding: Embedding) -> bytes:
    """Return the file content for an embedding.

    Parameters
    ----------
    key : str
        The name it is stored under.
    embedding : Embedding
        Tensors are written as float16.
    """
    from safetensors.numpy import save

    tensors = {
        name: np.asarray(tensor, dtype=np.float16, order="C")
        for name, tensor in embedding.tensors.items()
    }
    frame = embedding.frame
    about = {
        "format": FORMAT,
        "key": key,
        "model": embedding.model,
        "frame": json.dumps([frame.image_size, frame.input_size, frame.side]),
    }
    about["checksum"] = _checksum(about, tensors)
    return save(tensors, about)


def loads(key: str, content: bytes) -> Embedding:
    """Return the embedding of a file's content.

    Raises
    ------
    DamagedEntry
        If the content is not what :func:`dumps` returned for this key.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        length = int.from_bytes(content[:8], "little")
        about: dict[str, Any] = json.loads(content[8 : 8 + length])["__metadata__"]
        # A copy: views of the file's bytes are read-only, which torch warns about.
        tensors = {name: np.array(tensor) for name, tensor in load(content).items()}
        found = about.pop("checksum")
        image_size, input_size, side = json.loads(about["frame"])
        frame = Frame(tuple(image_size), tuple(input_size), side)
        embedding = Embedding(tensors, frame, about["model"])
        is_ours = (about["format"], about["key"]) == (FORMAT, key)
    except (
        SafetensorError, ValueError, KeyError, TypeError, AttributeError,
        IndexError, RecursionError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error
    if not is_ours or any(t.dtype != np.float16 for t in tensors.values()):
        raise DamagedEntry("it holds another entry")
    if found != _checksum(about, tensors):
        raise DamagedEntry("its checksum does not match")
    return embedding


def _checksum(
    about: dict[str, Any], tensors: Mapping[str, npt.NDArray[np.float16]]
) -> str:
    digest = hashlib.blake2b(digest_size=16)
    # A file need not have them in the order in which they were given.
    names = sorted(tensors)
    shapes = [(name, tensors[name].shape) for name in names]
    digest.update(json.dumps([about, shapes], sort_keys=True).encode())
    for name in names:
        digest.update(tensors[name].data)
    return digest.hexdigest()
