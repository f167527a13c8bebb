"""The file format of one stored embedding: safetensors with a checksum.

The features are the only tensor; everything else is in the metadata.  The
checksum covers both, so that any damage (a file cut short, a flipped bit, a
file under another's name) reads as `DamagedEntry`, never as a wrong embedding.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from napari_sam.types import Embedding, Frame

_FORMAT = "napari-sam embedding 1"


class DamagedEntry(Exception):
    """The bytes are not the entry they should be."""


def dumps(key: str, embedding: Embedding) -> bytes:
    """Return the file content for an embedding.

    Parameters
    ----------
    key : str
        The name it is stored under.
    embedding : Embedding
        Features are written as float16.
    """
    from safetensors.numpy import save

    features = np.ascontiguousarray(embedding.features, dtype=np.float16)
    frame = embedding.frame
    about = {
        "format": _FORMAT,
        "key": key,
        "model": embedding.model,
        "frame": json.dumps([frame.image_size, frame.input_size, frame.side]),
    }
    about["checksum"] = _checksum(about, features)
    return save({"features": features}, about)


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
        features = np.array(load(content)["features"])
        found = about.pop("checksum")
        image_size, input_size, side = json.loads(about["frame"])
        frame = Frame(tuple(image_size), tuple(input_size), side)
        embedding = Embedding(features, frame, about["model"])
        is_whole = (about["format"], about["key"]) == (_FORMAT, key)
    except (
        SafetensorError, ValueError, KeyError, TypeError, AttributeError,
        IndexError, RecursionError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error
    if not is_whole or features.dtype != np.float16:
        raise DamagedEntry("it holds another entry")
    if found != _checksum(about, features):
        raise DamagedEntry("its checksum does not match")
    return embedding


def _checksum(about: dict[str, Any], features: np.ndarray[Any, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([about, features.shape], sort_keys=True).encode())
    digest.update(features.data)
    return digest.hexdigest()
