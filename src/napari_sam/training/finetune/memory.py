"""Keep what an image encoder could do, while it learns other images.

A model that learns specimens forgets photographs, and it is the encoder that does:
given back its first weights, it answers boxes on photographs as before, through the
decoder that has learnt specimens.  So on some of the images, unlike the specimens,
its embedding is drawn to that of the encoder it was (Li and Hoiem, "Learning without
forgetting", ECCV 2016, with features in place of answers).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_sam.models.sam1.checkpoint import SamNetwork


class Memory:
    """The image encoder that is to be remembered.

    Parameters
    ----------
    network : SamNetwork
        Whose encoder; it is copied.
    weight : float
        How much the distance of the embeddings counts beside the other losses.
    """

    def __init__(self, network: SamNetwork, weight: float) -> None:
        self.weight = weight
        self._encoder: nn.Module = copy.deepcopy(network.image_encoder).float().eval()
        for parameter in self._encoder.parameters():
            parameter.requires_grad_(False)

    def to(self, device: torch.device) -> Memory:
        """Move the encoder to a device."""
        self._encoder.to(device)
        return self

    @torch.no_grad()
    def recall(self, network: SamNetwork, share: float) -> None:
        """Move a network's encoder towards this one, in place.

        Parameters
        ----------
        network : SamNetwork
            Of the same architecture.
        share : float
            0 changes nothing, 1 replaces the encoder.
        """
        old = self._encoder.state_dict()
        for name, value in network.image_encoder.state_dict().items():
            if value.is_floating_point():
                value.lerp_(old[name].to(value), share)

    @torch.no_grad()
    def gradient(self, images: Tensor, embedding: Tensor, which: Tensor) -> Tensor:
        """Return the gradient of the distance by the embedding.

        The distance is the mean square of the difference, in units of the
        variance of the embedding that is remembered, averaged over the batch.

        Parameters
        ----------
        images : float32 tensor (B, 3, side, side)
            What was encoded.
        embedding : float32 tensor (B, 256, g, g)
            By the encoder that learns.
        which : bool tensor (B,)
            The images that are to look as before; the others have no part in it.

        Returns
        -------
        float32 tensor (B, 256, g, g)
        """
        out = torch.zeros_like(embedding)
        if which.any():
            old = self._encoder(images[which]).float()
            new = embedding.detach()[which]
            scale = new[0].numel() * len(images) * old.var()
            out[which] = self.weight * 2 * (new - old) / scale
        return out
