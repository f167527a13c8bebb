"""All that the dock shows, as one frozen state, resolved from the parts in one go.

Parts tell that they have changed, as often as they like; once per turn of the event
loop the controller resolves the state anew.  Panels read the state, never the parts,
and are drawn when their share of it is another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam.viewer.learning.learner import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image, Labels

    from napari_sam.core.everything.proposals import Proposals
    from napari_sam.core.volumes.followed import Followed
    from napari_sam.io.recovery import Recovery
    from napari_sam.types import MaskLevel, Progress
    from napari_sam.viewer.background.prefetcher import StripState
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.settings import AnnotationSettings, Tool


@dataclass(frozen=True, slots=True)
class LayersState:
    """Which layers and which model are bound.

    Parameters
    ----------
    image : Image, optional
        The layer that is segmented.
    labels : Labels, optional
        Where accepted objects go.
    model : str, optional
        The model that is loaded or on its way.
    """

    image: Image | None
    labels: Labels | None
    model: str | None


@dataclass(frozen=True, slots=True)
class ObjectState:
    """The object under way, and what a press makes.

    Parameters
    ----------
    why_not : str
        Why nothing can be prompted; empty if it can.
    tool : Tool, optional
        What a press in the canvas makes; None if another layer takes it.
    level : MaskLevel
        Which of the model's nested answers is shown.
    marks_objects : bool
        Whether the next prompt marks an object.
    label, count : int
        Number of the first object under way, and how many there are.
    place : str
        Where the plane on screen is, in words.
    score : float, optional
        Predicted IoU of what is previewed.
    confidence : float, optional
        Of what was found on this slice by following the object.
    can_accept : bool
        Whether N writes anything.
    is_empty : bool
        Whether there is nothing to discard.
    """

    why_not: str
    tool: Tool | None
    level: MaskLevel
    marks_objects: bool
    label: int
    count: int
    place: str
    score: float | None
    confidence: float | None
    can_accept: bool
    is_empty: bool


@dataclass(frozen=True, slots=True)
class StackState:
    """Which planes are encoded, and what is encoded in advance.

    Parameters
    ----------
    strip : StripState
        The planes along the axis that is scrolled.
    is_whole : bool
        Whether the user asked for all of them.
    is_paused : bool
        Whether only planes that are shown are encoded.
    progress : str
        How far encoding all is, in words; empty if nobody asked for it.
    """

    strip: StripState
    is_whole: bool
    is_paused: bool
    progress: str


@dataclass(frozen=True, slots=True)
class FollowState:
    """The object through the stack, and what can be done with it here.

    Parameters
    ----------
    strip : StripState
        The planes along the axis that is scrolled.
    followed : Followed, optional
        What is known of the object through the stack.
    is_on_strip : bool
        Whether the planes of the strip are those that it was followed through.
    axis_name : str
        What the slices are called.
    limits : tuple of int
        First and last slice that an object is followed to.
    is_time : bool
        Whether the slices are frames.
    why_not : str
        Why no object can be followed.
    why_not_here : str
        Why what is followed cannot be changed on this slice.
    why_not_all : str
        Why the labels cannot be followed or linked.
    """

    strip: StripState
    followed: Followed | None
    is_on_strip: bool
    axis_name: str
    limits: tuple[int, int]
    is_time: bool
    why_not: str
    why_not_here: str
    why_not_all: str

    @property
    def count(self) -> int:
        """How many slices there are; 0 without an axis."""
        return 0 if self.strip.axis is None else len(self.strip.ready)


@dataclass(frozen=True, slots=True)
class SearchState:
    """Everything mode: what can be searched, and what was found.

    Parameters
    ----------
    settings : AnnotationSettings
        Thresholds, grid and colors.
    why_not : str
        Why nothing can be searched now.
    has_box : bool
        Whether a box is drawn on the plane on screen.
    sees_objects : bool
        Whether the model sees by itself where objects are, and is asked there.
    is_reduced : bool
        Whether a coarser level of the image is read, of which crops show no more.
    is_running : bool
        Whether a search is under way.
    count : int
        Proposals on all planes.
    found : Proposals, optional
        All of the plane on screen, whatever the thresholds.
    shown : Proposals, optional
        Those of the plane on screen that pass them.
    is_confident : bool
        Whether these are what pre-filling left, whose thresholds are its own.
    """

    settings: AnnotationSettings
    why_not: str
    has_box: bool
    sees_objects: bool
    is_reduced: bool
    is_running: bool
    count: int
    found: Proposals | None
    shown: Proposals | None
    is_confident: bool


@dataclass(frozen=True, slots=True)
class ReviewState:
    """What waits for a decision, and how far a review is.

    Parameters
    ----------
    is_active : bool
        Whether a review is under way.
    text : str, optional
        How far it is; None where nothing is looked at.
    certainty : float
        Of what is looked at.
    proposals, objects : int
        Proposals that wait, and written objects that nobody has looked at.
    is_offered : bool
        Whether anything is proposed on this slice.
    is_searching : bool
        Whether objects are still being searched.
    """

    is_active: bool
    text: str | None
    certainty: float
    proposals: int
    objects: int
    is_offered: bool
    is_searching: bool

    @property
    def is_needed(self) -> bool:
        """Whether anything waits for a decision."""
        return self.is_active or self.proposals + self.objects > 0

    @property
    def why_not(self) -> str:
        """Why no review can begin; empty if one can."""
        if self.is_searching:
            return "Objects are still being searched."
        return "" if self.is_needed else "There is nothing to review."


@dataclass(frozen=True, slots=True)
class TriageState:
    """Many proposals that are decided together.

    Parameters
    ----------
    why_not_choose : str
        Why none can be chosen on this slice.
    why_not_walk : str
        Why there is no next uncertain one.
    is_lasso : bool
        Whether a drag draws around proposals.
    likeness : tuple of float
        Likeness of the proposals on screen with the one that was asked about.
    least : float
        From which likeness on they are chosen.
    chosen : int
        How many are chosen.
    """

    why_not_choose: str
    why_not_walk: str
    is_lasso: bool
    likeness: tuple[float, ...]
    least: float
    chosen: int


@dataclass(frozen=True, slots=True)
class LearnState:
    """Learning from the user's labels.

    Parameters
    ----------
    stage : Stage
        Where it is.
    can_start : bool
        Whether it can begin.
    name : str
        A name for the model that comes of it.
    progress : Progress, optional
        How far it is.
    text : str
        What goes on or what came of it.
    """

    stage: Stage
    can_start: bool
    name: str
    progress: Progress | None
    text: str

    @property
    def is_running(self) -> bool:
        """Whether something is under way."""
        return self.stage.is_running


@dataclass(frozen=True, slots=True)
class ProjectState:
    """Where the work is kept, and what is in no project.

    Parameters
    ----------
    path : Path, optional
        The project; None while the work is kept for recovery only.
    is_saving : bool
        Whether it is being written.
    only_reading : str
        Why it is not written; empty if it is.
    recoverable : tuple of Recovery
        Work on this image that is in no project, the newest first.
    misplaced : Labels, optional
        Labels that lie elsewhere than the image.
    """

    path: Path | None
    is_saving: bool
    only_reading: str
    recoverable: tuple[Recovery, ...]
    misplaced: Labels | None


@dataclass(frozen=True, slots=True)
class ViewState:
    """All that the dock shows.

    Parameters
    ----------
    status : str
        What just happened, or what the next click or key does.
    settings : AnnotationSettings
        What the user chose.
    layers, project, object, stack, follow, search, review, triage, learn
        What the panels of these names show.
    progress : Progress, optional
        The most important of what is under way.
    can_cancel : bool
        Whether it can be stopped.
    """

    status: str
    settings: AnnotationSettings
    layers: LayersState
    project: ProjectState
    object: ObjectState
    stack: StackState
    follow: FollowState
    search: SearchState
    review: ReviewState
    triage: TriageState
    learn: LearnState
    progress: Progress | None
    can_cancel: bool


def resolve(controller: Controller) -> ViewState:
    """Return the state of a controller; changes nothing."""
    review = _review(controller)
    return ViewState(
        status=controller.status,
        settings=controller.settings,
        layers=_layers(controller),
        project=_project(controller),
        object=_object(controller),
        stack=_stack(controller),
        follow=_follow(controller),
        search=_search(controller),
        review=review,
        triage=_triage(controller, review),
        learn=_learn(controller),
        progress=controller.task_status.progress,
        can_cancel=controller.task_status.can_cancel,
    )


def _layers(controller: Controller) -> LayersState:
    context = controller.context
    labels = None if context.target is None else context.target.layer
    return LayersState(context.image, labels, controller.loader.name)


def _project(controller: Controller) -> ProjectState:
    session = controller.projects
    reason = ""
    if session.is_read_only and session.folder is not None:
        reason = session.folder.reason
    return ProjectState(
        session.path,
        session.is_saving,
        reason,
        session.recoverable,
        controller.labels.misplaced,
    )


def _object(controller: Controller) -> ObjectState:
    annotator = controller.annotator
    followed = controller.propagation.shown
    # What is clicked while the model loads is answered when it is there.
    why_not = controller.images.rest_reason if controller.context.plane is None else ""
    return ObjectState(
        why_not=why_not,
        tool=controller.toolbox.lit,
        level=annotator.level,
        marks_objects=annotator.prompting.positive,
        label=annotator.label,
        count=annotator.object_count,
        place=controller.navigator.text,
        score=annotator.score,
        confidence=None if followed is None else followed.confidence,
        # One button, whatever N accepts.
        can_accept=annotator.can_accept
        or controller.review.current is not None
        or bool(controller.triage.chosen),
        is_empty=annotator.is_empty,
    )


def _stack(controller: Controller) -> StackState:
    prefetcher = controller.prefetcher
    strip = prefetcher.strip
    is_whole = prefetcher.is_whole_stack and not strip.ready.all()
    return StackState(
        strip,
        is_whole,
        prefetcher.is_paused,
        prefetcher.progress.text if is_whole else "",
    )


def _follow(controller: Controller) -> FollowState:
    propagation, strip = controller.propagation, controller.prefetcher.strip
    why_not_all = ""
    if controller.labels.layer is None:
        why_not_all = "There are no labels."
    elif controller.context.plane is None:
        why_not_all = "Show the image in 2-D."
    return FollowState(
        strip=strip,
        followed=propagation.followed,
        is_on_strip=propagation.is_on_strip,
        axis_name=propagation.axis_name,
        limits=propagation.limits,
        is_time=propagation.is_time,
        why_not=propagation.why_not,
        why_not_here=propagation.why_not_here,
        why_not_all=why_not_all,
    )


def _search(controller: Controller) -> SearchState:
    context, everything = controller.context, controller.everything
    encoder, plane = context.encoder, context.plane
    why_not = controller.images.rest_reason
    if not why_not and encoder is None:
        why_not = "The model is not there yet."
    if everything.is_running:
        why_not = "A search is under way."
    engine = controller.loader.engine
    sees = engine is not None and engine.model.capabilities.object_maps
    return SearchState(
        settings=context.settings,
        why_not=why_not,
        has_box=any(p.box is not None for p in controller.annotator.prompting.here()),
        sees_objects=sees and context.settings.everything.prompts != "grid",
        is_reduced=encoder is not None
        and plane is not None
        and encoder.source.is_reduced(plane),
        is_running=everything.is_running,
        count=everything.count,
        found=None if plane is None else everything.proposed.unfiltered(plane),
        shown=everything.shown,
        is_confident=plane is not None and everything.proposed.is_confident(plane),
    )


def _review(controller: Controller) -> ReviewState:
    review = controller.review
    current = review.current
    return ReviewState(
        is_active=review.is_active,
        text=None if current is None else review.text,
        certainty=0.0 if current is None else current.certainty,
        proposals=review.proposal_count,
        objects=review.object_count,
        is_offered=bool(controller.everything.review_items),
        is_searching=controller.everything.is_running,
    )


def _triage(controller: Controller, review: ReviewState) -> TriageState:
    triage = controller.triage
    is_any = bool(controller.everything.review_items_here)
    return TriageState(
        why_not_choose="" if is_any else "Nothing is proposed on this slice.",
        # A walk begins a review anew, whether one is under way or not.
        why_not_walk=replace(review, is_active=False).why_not,
        is_lasso=triage.lasso.is_armed,
        likeness=tuple(triage.likeness_here),
        least=triage.least,
        chosen=len(triage.chosen),
    )


def _learn(controller: Controller) -> LearnState:
    learning = controller.learning
    text = ""
    if learning.progress is not None:
        text = learning.progress.text
    elif learning.result is not None and learning.stage is Stage.UNDECIDED:
        text = f"Not better: {learning.result.summary}."
    elif learning.result is not None and learning.saved is not None:
        text = f"{learning.saved.stem}: {learning.result.summary}."
    return LearnState(
        stage=learning.stage,
        can_start=controller.context.encoder is not None and not learning.is_running,
        name=learning.suggested_name,
        progress=learning.progress,
        text=text,
    )
