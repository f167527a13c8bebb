"""The status line: what just happened, or else what the next click or key does.

What is said of an event is true in the state that the event led to, and no longer:
with the next plane, prompt, undo or brush stroke it goes, and the line is derived
from the state again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam.core.volumes.propagation import Source
from napari_sam.viewer.settings import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.viewer.controller import Controller

_NEXT = {
    Tool.POINT: "Click an object.  Ctrl-click marks background.",
    Tool.BOX: "Drag a box around an object; several boxes, several objects.",
    Tool.OUTLINE: "Draw roughly around an object.",
    Tool.ELLIPSE: "Drag an ellipse over an object.",
    Tool.SCRIBBLE: "Drag a line along an object.",
    Tool.EDIT: "Drag a point to move it; Delete removes it.",
}
_NEXT_BACKGROUND = {
    Tool.POINT: "Click background.  Ctrl-click marks an object · Q objects again",
    Tool.BOX: "Drag a box over background.  Q objects again",
    Tool.OUTLINE: "Draw around background.  Q objects again",
    Tool.ELLIPSE: "Drag an ellipse over background.  Q objects again",
    Tool.SCRIBBLE: "Drag a line along background.  Q objects again",
    Tool.EDIT: _NEXT[Tool.EDIT],
}


@dataclass(frozen=True, slots=True)
class StatusState:
    """What the status line is derived from.

    Parameters
    ----------
    has_image : bool
        Whether an image is chosen.
    rest_reason : str
        Why nothing can be prompted now, one sentence; empty if it can.
    model : str, optional
        Name of the model that is loaded or on its way.
    is_loading, is_encoding : bool
        Whether the model, or the plane on screen, is still to come.
    search : str, optional
        How far everything mode is, while it is under way.
    tool : Tool, optional
        What a press in the canvas makes; None if another layer takes it.
    mouse_layer : str
        Which layer takes it then.
    marks_objects : bool
        Whether the next prompt marks an object.
    label : int
        Number of the object under way.
    is_correcting : bool
        Whether that object is in the labels already.
    has_prompts : bool
        Whether there are prompts on the plane on screen.
    has_object_prompt : bool
        Whether any prompt marks an object.
    score : float, optional
        Lowest score of what is previewed.
    is_proposal : bool
        Whether a proposal that nobody has corrected yet is previewed.
    is_awaited : bool
        Whether an answer is on its way.
    is_writing : bool
        Whether an accepted object waits for its answers.
    is_live : bool
        Whether objects are written while the user clicks.
    waiting_planes : int
        On how many other planes something would be written by an accept.
    certainty : float, optional
        Of what is looked at in a review.
    followed : str
        What was found on this slice by following the object: empty for nothing.
    slices : int
        On how many slices an accept writes the object that was followed.
    is_cut_short : bool
        Whether following it was stopped before it was done.
    review_items : int
        How many proposals of the plane on screen can be decided one by one.
    proposals : int
        How many proposals there are on all planes.
    """

    has_image: bool = False
    rest_reason: str = ""
    model: str | None = None
    is_loading: bool = False
    is_encoding: bool = False
    search: str | None = None
    tool: Tool | None = Tool.POINT
    mouse_layer: str = ""
    marks_objects: bool = True
    label: int = 1
    is_correcting: bool = False
    has_prompts: bool = False
    has_object_prompt: bool = False
    score: float | None = None
    is_proposal: bool = False
    is_awaited: bool = False
    is_writing: bool = False
    is_live: bool = False
    waiting_planes: int = 0
    certainty: float | None = None
    followed: str = ""
    slices: int = 0
    is_cut_short: bool = False
    review_items: int = 0
    proposals: int = 0


def status_of(state: StatusState) -> str:
    """Return what goes on and what the next click or key does."""
    for rule in (_without_plane, _under_way, _previewed, _proposed):
        text = rule(state)
        if text:
            return text
    return _next_prompt(state)


def next_step(state: StatusState) -> str:
    """Return what the next click or key does, to be said along with an event."""
    if state.has_prompts or state.waiting_planes:
        return f"Object {state.label} goes on."
    return status_of(_of_the_user(state))


def _without_plane(state: StatusState) -> str:
    if not state.has_image:
        return state.rest_reason
    if state.is_loading:
        return f"Loading model {state.model} …"
    return state.rest_reason


def _under_way(state: StatusState) -> str:
    if state.search is not None:
        return f"Everything mode: {state.search}" if state.search else "Searching …"
    if state.is_encoding:
        return "Encoding this plane …  " + (
            "The mask comes next." if state.has_prompts else "You can click already."
        )
    if state.is_awaited:
        return "The mask is on its way …"
    if state.is_writing and not state.has_prompts:
        return "Writing the object as soon as its mask is there …"
    return ""


def _previewed(state: StatusState) -> str:
    if state.followed:
        return state.followed
    if state.score is None:
        if state.has_prompts and state.has_object_prompt:
            return "Nothing found there: add a point or draw a box."
        if state.has_prompts:
            return "Only background is marked: click the object too."
        if state.waiting_planes:
            count = state.waiting_planes
            other = "another plane" if count == 1 else f"{count} other planes"
            return f"Object {state.label} is on {other}: N accepts · Esc discards"
        if state.is_correcting:
            return f"Object {state.label}: add points to change it, then N."
        return ""
    if state.is_proposal:
        return (
            "Proposal: N accepts it · click or Ctrl-click corrects it · Esc leaves it"
        )
    if state.is_cut_short:
        return (
            f"The object was followed on {state.slices} slices only: Shift+T goes on · "
            "N accepts these · Esc discards"
        )
    verb = "N next object" if state.is_live else "N accepts"
    if state.slices > 1:
        verb += f" all {state.slices} slices"
    return f"Score {state.score:.2f}.  {verb} · W other size · Esc discards"


def _proposed(state: StatusState) -> str:
    if state.certainty is not None:
        return (
            f"Certainty {state.certainty:.2f}.  N accepts · K rejects · J corrects · "
            "Shift+N skips"
        )
    if state.review_items:
        return (
            f"{state.review_items} proposed.  N or Shift-click accepts, K rejects, "
            "a click corrects the one under the cursor."
        )
    if state.proposals:
        return (
            f"{state.proposals} objects proposed.  Move the thresholds, "
            "then write them into the labels."
        )
    return ""


def _next_prompt(state: StatusState) -> str:
    if state.tool is None:
        return (
            f"The mouse works on layer '{state.mouse_layer}'.  "
            "Press a tool to prompt again."
        )
    return (_NEXT if state.marks_objects else _NEXT_BACKGROUND)[state.tool]


class StatusLine:
    """One sentence that is true.

    Parameters
    ----------
    read : callable
        Returns the state now, and what else an event depends on; the latter is
        compared by identity.
    """

    def __init__(
        self, read: Callable[[], tuple[StatusState, tuple[object, ...]]]
    ) -> None:
        self._read = read
        self._event = ""
        self._said_in: tuple[StatusState, tuple[object, ...]] | None = None

    @property
    def text(self) -> str:
        """The line."""
        now = self._read()
        if self._event and self._said_in is None:
            # The first look after the event: this is what it led to.
            self._said_in = now
        if self._said_in is not None and not _same(self._said_in, now):
            self._event, self._said_in = "", None
        return self._event or status_of(now[0])

    def say(self, text: str) -> None:
        """Tell an event; it stands until the state that follows it changes."""
        self._event, self._said_in = text, None


def _same(
    a: tuple[StatusState, tuple[object, ...]],
    b: tuple[StatusState, tuple[object, ...]],
) -> bool:
    return _of_the_user(a[0]) == _of_the_user(b[0]) and all(
        x is y for x, y in zip(a[1], b[1], strict=True)
    )


def _of_the_user(state: StatusState) -> StatusState:
    """Return a state without what comes to be ready by itself.

    A plane that is encoded by now makes nothing untrue that was said of an object.
    """
    return replace(state, is_encoding=False, is_awaited=False)


def _said_followed(controller: Controller) -> str:
    """Say what was found on the slice on screen by following the object there."""
    found = controller.propagation.shown
    if found is None:
        return ""
    if found.source is Source.PROMPTED:
        return "The object was extended to this slice.  N accepts · click to correct"
    if found.is_ghost:
        return (
            "The object seems to have ended before.  Shift+E extends it to this slice "
            "· click to mark it here"
        )
    return (
        f"Found here with confidence {found.confidence:.2f}.  N accepts all slices · "
        "click to correct · Shift+E ends it here · Shift+S least sure"
    )


def read_state(controller: Controller) -> StatusState:
    """Return the state of a controller."""
    context, annotator = controller.context, controller.annotator
    everything, entry = controller.everything, controller.review.current
    prediction, plane = annotator.prediction, context.plane
    indices = {p.index for p in (*annotator.draft.answers, *annotator.draft.planes)}
    here = {plane.index} if plane is not None else set()
    items, followed = annotator.items, annotator.draft.followed
    tool = controller.toolbox.lit
    active = controller.viewer.layers.selection.active
    return StatusState(
        has_image=context.image is not None,
        rest_reason=controller.images.rest_reason,
        model=controller.loader.name,
        is_loading=controller.loader.is_loading,
        is_encoding=context.encoder is not None
        and not controller.prefetcher.is_shown_ready,
        search=everything.progress.text if everything.progress is not None else None,
        tool=tool,
        mouse_layer=active.name if tool is None and active is not None else "",
        marks_objects=annotator.prompting.positive,
        label=annotator.label,
        is_correcting=annotator.draft.label is not None,
        has_prompts=not here.isdisjoint(p.index for p in items.planes()),
        has_object_prompt=any(i.positive for i in items.points)
        or any(i.positive for i in items.shapes),
        score=min(c.score for c in prediction.candidates)
        if prediction is not None and prediction.candidates
        else None,
        is_proposal=prediction is not None and not prediction.is_asked,
        is_awaited=annotator.prompting.requests.is_shown_awaited,
        is_writing=annotator.is_waiting,
        is_live=context.settings.live,
        waiting_planes=len(indices - here),
        certainty=entry.certainty if entry is not None else None,
        followed=_said_followed(controller),
        slices=0 if followed is None else len({*followed.to_write, *followed.prompted}),
        is_cut_short=followed is not None
        and not followed.is_finished
        and not annotator.draft.is_growing,
        review_items=len(everything.review_items),
        proposals=everything.count,
    )
