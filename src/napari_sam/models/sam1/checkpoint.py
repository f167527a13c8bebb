"""Networks from SAM checkpoints of any origin, and checkpoints of networks.

How a file becomes named tensors is in :mod:`napari_sam.models.weights_file`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_sam.core.atomic import replacing
from napari_sam.core.model_thresholds import ModelThresholds
from napari_sam.errors import FileFormatError, ModelError
from napari_sam.models.image_encoders import encoder_kind
from napari_sam.models.metadata import ARCHITECTURE, THRESHOLDS
from napari_sam.models.sam1.mask_decoder import MaskDecoder
from napari_sam.models.sam1.multimask_ensemble import MultimaskEnsemble
from napari_sam.models.sam1.prompt_encoder import PromptEncoder
from napari_sam.models.sam1.prompt_head import PromptHead
from napari_sam.models.torch_errors import translated_errors
from napari_sam.models.weights_file import normalized, read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_sam.core.model import Capabilities
    from napari_sam.models.image_encoders import ImageEncoder
    from napari_sam.models.weights_file import StateDict, WeightsFile

_ENCODER = "image_encoder."
_OPTIONAL = {"prompt_head": PromptHead, "blend": MultimaskEnsemble}
"""Parts that a network has if there are weights of them."""


class SamNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder, named as in SAM.

    Parameters
    ----------
    image_encoder : ImageEncoder
        The encoder.
    architecture : str
        ``vit_t``, ``vit_b``, ``vit_l``, ``vit_h``, or a description;
        ``vit_t_512`` is MobileSAM's with an input of 512 pixels.
    side : int
        Side of the square input in pixels.
    prompt_head : PromptHead, optional
        Finds objects without a prompt.  SAM has none; it can be set later.
    blend : MultimaskEnsemble, optional
        Makes one answer of the decoder's four, and says that the model is to be
        asked a second time with it.  SAM has none; it can be set later.

    Attributes
    ----------
    thresholds : ModelThresholds
        When to believe its scores; kept in the weights file.
    """

    prompt_head: PromptHead | None
    blend: MultimaskEnsemble | None

    def __init__(
        self,
        image_encoder: ImageEncoder,
        architecture: str,
        side: int,
        prompt_head: PromptHead | None = None,
        blend: MultimaskEnsemble | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.side = side
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(side)
        self.mask_decoder = MaskDecoder()
        self.prompt_head = prompt_head
        self.blend = blend
        self.thresholds = ModelThresholds()

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as its encoder and its parts are now."""
        return replace(
            self.image_encoder.capabilities,
            object_maps=self.prompt_head is not None,
            blends_masks=self.blend is not None,
        )


class _Unfilled(TorchFunctionMode):
    """Leave parameters without their random start: what is in a file replaces it.

    torch draws numbers on its meta device in Python, and imports its compiler for that,
    which takes longer than all the rest of loading a model.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def load_network(path: Path) -> SamNetwork:
    """Build the network that a weights file was made for and load it.

    Parameters
    ----------
    path : Path
        A safetensors file, or a torch file of plain tensors.

    Returns
    -------
    SamNetwork
        In evaluation mode, float32, on the CPU.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of an architecture other than SAM's.
    """
    return network_of(read_weights(path))


def network_of(file: WeightsFile) -> SamNetwork:
    """Return the network of a weights file that was read, as `load_network` does."""
    path = file.path
    with translated_errors("load the model", "cpu"):
        state = normalized(file.tensors, path)
        # Nothing is allocated before every shape is known to be one in the file.
        with torch.device("meta"), _Unfilled():
            known = replace(file, tensors=state)
            network = SamNetwork(*encoder_kind(known).build(known))
            for name, part in _OPTIONAL.items():
                if any(key.startswith(f"{name}.") for key in state):
                    setattr(network, name, part())
        _check_entries(network, state, path)
        # Copies, since a tensor of a safetensors file is a map of that file.
        own = {key: value.to(torch.float32, copy=True) for key, value in state.items()}
        network.load_state_dict(own, assign=True)
    said = file.about.get(THRESHOLDS)
    if said is not None:
        network.thresholds = ModelThresholds.from_text(said, path.name)
    network = network.eval().requires_grad_(False)
    _check_numbers(network, path)
    return network


def _check_entries(network: SamNetwork, state: StateDict, path: Path) -> None:
    """Refuse a state dictionary that does not fit, entry by entry."""
    wanted = network.state_dict()
    wrong = sorted(
        key
        for key in wanted.keys() | state.keys()
        if key not in wanted
        or key not in state
        or wanted[key].shape != state[key].shape
    )
    if wrong:
        raise ModelError(
            f"{path.name} is not a SAM model of a known architecture "
            f"({len(wrong)} entries do not fit {network.architecture}, for instance "
            f"{wrong[0]!r}); choose the weights of SAM, MobileSAM, MedSAM or micro-sam."
        )


def _check_numbers(network: SamNetwork, path: Path) -> None:
    """Refuse weights that would answer every prompt with nothing."""
    bad = [k for k, v in network.state_dict().items() if not torch.isfinite(v).all()]
    if bad:
        raise ModelError(
            f"{path.name} has weights that are not finite numbers ({len(bad)} entries, "
            f"for instance {bad[0]!r}), so the training that made them failed; choose "
            f"another file."
        )
    if network.blend is not None and not network.blend.is_usable:
        raise ModelError(
            f"{path.name} blends its masks at a temperature of "
            f"{float(network.blend.temperature):g}, which is not a usable one; get the "
            f"file again."
        )


def save_network(
    network: SamNetwork,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = torch.float16,
) -> None:
    """Write a network so that `load_network` reads it.

    The file is written aside and takes the place of ``path`` only when it is
    complete and on the device: a full disk or a kill leaves the old file.

    Parameters
    ----------
    network : SamNetwork
        On any device, in any mode and precision.
    path : Path
        A ``.safetensors`` file, new or to be replaced.
    metadata : mapping of str to str, optional
        What the file says about itself; see :mod:`napari_sam.models.metadata`.
        ``architecture``, ``encoder`` and ``thresholds`` are added.
    dtype : torch.dtype, optional
        Of the stored numbers.  ``None`` stores each entry as float16 if that
        changes none of its values, else as float32: an encoder that was not
        trained then stays the same to the bit and goes on sharing the cached
        embeddings of its base, whatever precision the base came in.

    Raises
    ------
    ModelError
        If a weight is not finite, or too large for ``dtype``.
    FileFormatError
        If ``path`` is not a safetensors file or cannot be written.
    """
    if path.suffix != ".safetensors":
        raise FileFormatError(
            f"{path.name} is not a name for safetensors weights; "
            f"choose one that ends in .safetensors."
        )
    state = {
        key: _stored(key, value, dtype)
        for key, value in normalized(network.state_dict(), path).items()
    }
    about = dict(metadata or {}) | {
        "format": "pt",
        ARCHITECTURE: network.architecture,
        "encoder": _hash(network.architecture, state, _ENCODER),
        THRESHOLDS: network.thresholds.to_text(),
    }
    with replacing(path) as aside:
        try:
            save_file(state, aside, about)
        except SafetensorError as error:
            raise FileFormatError(
                f"{path} cannot be written ({error}); free some space there or "
                f"choose another place."
            ) from error
        with aside.open("rb+") as file:
            os.fsync(file.fileno())


def _stored(key: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return an entry as it is written."""
    value = value.detach().to("cpu", torch.float32)
    small = value.to(dtype or torch.float16)
    if dtype is None and not torch.equal(small.float(), value):
        small = value
    if not torch.isfinite(small).all():
        raise ModelError(
            f"The weights {key!r} are not finite numbers of {small.dtype}, so the "
            f"training that made them failed; go back to an earlier state."
        )
    # One memory layout and no shared storage, as the format wants.
    return small.clone(memory_format=torch.contiguous_format)


def encoder_fingerprint(network: SamNetwork) -> str:
    """Return a hash of architecture and image encoder.

    What an embedding depends on: models that differ only in the decoder or the
    prompt head share embeddings.  It is of the numbers, not of a file, so a
    model saved in another precision keeps it where no number changed.

    Parameters
    ----------
    network : SamNetwork
        In float32, as loaded.
    """
    return _hash(network.architecture, network.state_dict(), _ENCODER)


def network_fingerprint(network: SamNetwork) -> str:
    """Return a hash of architecture and weights, for a network in no file."""
    return _hash(network.architecture, network.state_dict())


def _hash(architecture: str, state: Mapping[str, Tensor], prefix: str = "") -> str:
    """Hash the entries whose names begin with a prefix, as float32."""
    digest = hashlib.sha256(architecture.encode())
    for key in sorted(k for k in state if k.startswith(prefix)):
        numbers = state[key].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"\n{key} {tuple(numbers.shape)}\n".encode())
        digest.update(numbers.numpy().data)
    return f"{architecture}-{digest.hexdigest()[:32]}"


def fingerprint(path: Path, architecture: str) -> str:
    """Return a hash of a weights file, read at most once per version of it."""
    stat = path.stat()
    return f"{architecture}-{_sha256(path.resolve(), stat.st_mtime_ns, stat.st_size)}"


@lru_cache(maxsize=64)
def _sha256(path: Path, modified: int, size: int) -> str:
    """Hash a file; time and size are arguments so that a new version is a miss."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
