"""What the user chose in the dock widget: one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from napari_sam.core.everything.settings import EverythingSettings
from napari_sam.core.masks import OverlapPolicy, PostProcessing
from napari_sam.core.names import check_number, check_type

POLICY_NAMES = {
    OverlapPolicy.KEEP: "keep other objects",
    OverlapPolicy.OVERWRITE: "overwrite them",
    OverlapPolicy.UNLABELLED: "only unlabelled pixels",
}
"""What the choices are called where the user makes them."""


class Normalisation(StrEnum):
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
class AnnotationSettings:
    """Everything the dock widget lets the user choose.

    Parameters
    ----------
    policy : OverlapPolicy
        What happens where a new object meets labelled pixels.
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
    normalisation : Normalisation
        How pixels become RGB.
    prefetch : bool
        Encode neighbouring planes while idle.
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
    normalisation: Normalisation = Normalisation.PERCENTILE
    prefetch: bool = True
    everything: EverythingSettings = field(default_factory=EverythingSettings)
    min_area: float | None = None
    min_score: float | None = None
    min_stability: float | None = None
    max_share: float | None = None
    confident_score: float | None = None
    confident_stability: float | None = None

    def __post_init__(self) -> None:
        check_type("policy", self.policy, OverlapPolicy, "an OverlapPolicy")
        check_type("cleaning", self.cleaning, PostProcessing, "a PostProcessing")
        check_type("accept_wait", self.accept_wait, AcceptWait, "an AcceptWait")
        check_type("preview", self.preview, PreviewStyle, "a PreviewStyle")
        check_type(
            "proposal_color", self.proposal_color, ProposalColor, "a ProposalColor"
        )
        check_type(
            "normalisation", self.normalisation, Normalisation, "a Normalisation"
        )
        check_type(
            "everything", self.everything, EverythingSettings, "an EverythingSettings"
        )
        for name in ("live", "hover", "prefetch"):
            check_type(name, getattr(self, name), bool, "True or False")
        if self.min_area is not None:
            check_number("min_area", self.min_area, 0, math.inf)
        for name in (
            "min_score",
            "min_stability",
            "max_share",
            "confident_score",
            "confident_stability",
        ):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0, 1)

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
