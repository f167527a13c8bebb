"""What the user chose in the dock widget: one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.masks import OverlapPolicy, PostProcessing
from napari_sam.core.settings import Range, Settings, Share

POLICY_NAMES = {
    OverlapPolicy.KEEP: "keep other objects",
    OverlapPolicy.OVERWRITE: "overwrite them",
    OverlapPolicy.UNLABELED: "only unlabeled pixels",
}
"""What the choices are called where the user makes them."""


class Normalization(StrEnum):
    """How pixels become the RGB image that the model sees."""

    PERCENTILE = "percentile"
    DISPLAYED = "as displayed"


class Tool(StrEnum):
    """What a mouse press in the canvas makes."""

    POINT = "point"
    BOX = "box"
    OUTLINE = "outline"
    ELLIPSE = "ellipse"
    SCRIBBLE = "scribble"
    EDIT = "edit"


class AcceptWait(StrEnum):
    """How long an accept waits for a better mask than the one that is shown."""

    NONE = "none"
    BRIEF = "brief"
    FINAL = "final"

    @property
    def seconds(self) -> float:
        """The longest wait."""
        return {AcceptWait.NONE: 0.0, AcceptWait.BRIEF: 0.3}.get(self, math.inf)


class PreviewStyle(StrEnum):
    """How masks are drawn before they are written."""

    FILL = "contour and fill"
    CONTOUR = "contour"
    OFF = "off"

    def next(self) -> PreviewStyle:
        """Return the style after this one, around."""
        styles = list(PreviewStyle)
        return styles[(styles.index(self) + 1) % len(styles)]


class ProposalColor(StrEnum):
    """What the color of a proposal says."""

    LABEL = "label"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class AnnotationSettings(Settings):
    """Everything the dock widget lets the user choose.

    Parameters
    ----------
    policy : OverlapPolicy
        What happens where a new object meets labeled pixels.
    cleaning : PostProcessing
        Applied to every previewed mask.
    live : bool
        Write the result into the labels as it changes, without an accept.
    accept_wait : AcceptWait
        How long an accept waits for a better mask than the preliminary one that
        is shown.
    hover : bool
        Show the mask under the cursor before clicking.
    preview : PreviewStyle
        How masks are drawn before they are written.
    proposal_color : ProposalColor
        Whether each proposal of everything mode has a color of its own, or that of its
        score.
    normalization : Normalization
        How pixels become RGB.
    prefetch : bool
        Encode neighboring planes while idle.
    everything : EverythingSettings
        Grid and thresholds of everything mode.
    min_area, min_score, min_stability : number, optional
        Live filters of everything mode's proposals.  By default those of
        ``everything``, which depend on whether the model sees objects.
    max_share : float, optional
        Proposals that cover more of the plane than this are hidden: they are
        mostly the background.  By default that of ``everything``.
    confident_score, confident_stability : float, optional
        Below these a proposal does not pre-fill a slice, wherever the live
        filters are.  By default those of the model.
    """

    policy: OverlapPolicy = OverlapPolicy.KEEP
    cleaning: PostProcessing = field(default_factory=PostProcessing)
    live: bool = False
    accept_wait: AcceptWait = AcceptWait.BRIEF
    hover: bool = False
    preview: PreviewStyle = PreviewStyle.FILL
    proposal_color: ProposalColor = ProposalColor.LABEL
    normalization: Normalization = Normalization.PERCENTILE
    prefetch: bool = True
    everything: EverythingSettings = field(default_factory=EverythingSettings)
    min_area: Annotated[float | None, Range(0)] = None
    min_score: Share | None = None
    min_stability: Share | None = None
    max_share: Share | None = None
    confident_score: Share | None = None
    confident_stability: Share | None = None

    @property
    def filters(self) -> tuple[float | None, ...]:
        """The live filters, to see whether one has changed."""
        return (
            self.min_area,
            self.min_score,
            self.min_stability,
            self.max_share,
            self.confident_score,
            self.confident_stability,
        )
