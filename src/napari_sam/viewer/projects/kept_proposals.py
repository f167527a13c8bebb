"""Proposals that are kept: with an image that is left, or until there is a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.core.planes import is_plane_of
from napari_sam.io.project import PlaneProposals
from napari_sam.viewer.coords import layer_shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image

    from napari_sam.core.annotation.under_way import ProposalKey
    from napari_sam.viewer.controller import Controller

_KEY = "napari_sam_proposals"


class KeptProposals:
    """The proposals that are on screen, and those that will be.

    Parameters
    ----------
    controller : Controller
        Has those that are on screen.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._waiting: tuple[PlaneProposals, ...] = ()

    @property
    def all(self) -> tuple[PlaneProposals, ...]:
        """Those that wait for a model, and those under review."""
        proposed = self._controller.everything.proposed
        rejected = proposed.rejected
        shown = (
            PlaneProposals(
                plane,
                proposals,
                proposed.is_offered(plane),
                proposed.is_confident(plane),
                tuple(key for key in rejected if key[0] == plane),
            )
            for plane, proposals in proposed.found.items()
        )
        return (*self._waiting, *shown)

    @property
    def rejected(self) -> tuple[ProposalKey, ...]:
        """What was turned down."""
        waiting = [key for one in self._waiting for key in one.rejected]
        return (*waiting, *self._controller.everything.proposed.rejected)

    def take(self, proposals: Iterable[PlaneProposals]) -> None:
        """Show proposals as soon as there is a model, on planes that have none yet."""
        known = {one.plane for one in self.all}
        self._waiting += tuple(one for one in proposals if one.plane not in known)
        self.show()

    def show(self) -> None:
        """Show what waits, if there is a model."""
        context = self._controller.context
        image = context.image
        if image is None or context.encoder is None:
            return
        waiting, self._waiting = self._waiting, ()
        shape = layer_shape(image)
        for one in waiting:
            plane = one.plane
            # The image may have got other data since.
            if is_plane_of(plane, shape) and plane.shape(shape) == one.proposals.shape:
                self._controller.everything.restore(
                    plane,
                    one.proposals,
                    confident=one.confident,
                    offered=one.offered,
                    rejected=one.rejected,
                )

    def clear(self) -> None:
        """Let nothing wait."""
        self._waiting = ()

    def keep(self, image: Image) -> None:
        """Keep all with an image that is left, for who annotates it next."""
        if self.all:
            image.metadata[_KEY] = self.all
        self.clear()

    def bring_back(self, image: Image) -> None:
        """Show what is kept with an image, once."""
        self.take(image.metadata.pop(_KEY, ()))
