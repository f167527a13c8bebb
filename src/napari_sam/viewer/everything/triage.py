"""Deciding about many proposals at once: those in a lasso, and those like one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal

from napari_sam.core.annotation.prompts import rasterise
from napari_sam.core.annotation.review_items import counted
from napari_sam.core.everything.triage import inside, mean_features, similarity
from napari_sam.viewer.background.worker import Job, Priority
from napari_sam.viewer.connections import ConnectionSet
from napari_sam.viewer.coords import layer_shape
from napari_sam.viewer.overlay import PREVIEW_COLOR
from napari_sam.viewer.plugin_layers import (
    IDLE_MODE,
    LASSO_ROLE,
    ROLE,
    copy_transform,
    fade_shapes,
    finish_drawing,
    selection_kept,
    transform_of,
    uncover,
)
from napari_sam.viewer.prompting.pointer import STILL, followed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    import numpy.typing as npt
    from napari.layers import Layer

    from napari_sam.core.annotation.review_items import ReviewItem, ReviewItemKey
    from napari_sam.types import FloatArray, Plane
    from napari_sam.viewer.context import Context
    from napari_sam.viewer.everything.mode import EverythingMode
    from napari_sam.viewer.everything.proposal_actions import ProposalActions
    from napari_sam.viewer.everything.review import Review
    from napari_sam.viewer.image.encoder import PlaneEncoder
    from napari_sam.viewer.prompting.annotator import Annotator

_MODE = "add_polygon_lasso"

ALIKE_SLOT = "alike"
ALIKE = 0.7
"""Cosine from which on proposals are taken to be alike till the user says otherwise."""

_KEYS = "N accepts them · K rejects them · Esc lets them be"


class Lasso:
    """Draws one outline at a time and hands it over.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    on_drawn : callable
        Takes the vertices, float array (N, D), in array coordinates of the image.
    on_made : callable
        Takes a layer that was made, to bind its keys.

    Attributes
    ----------
    layer : Shapes or None
        Made when it is first used, and hidden while it is not.
    """

    def __init__(
        self,
        context: Context,
        on_drawn: Callable[[npt.NDArray[np.float64]], None],
        on_made: Callable[[Shapes], None],
    ) -> None:
        self._context = context
        self._on_drawn = on_drawn
        self._on_made = on_made
        self.layer: Shapes | None = None
        self._is_held = self._is_given_up = False
        self._drawn = ConnectionSet()
        self._selection = ConnectionSet()
        self._selection.connect(
            context.viewer.layers.selection.events.active, self._on_active
        )

    @property
    def is_armed(self) -> bool:
        """Whether the next press begins a line."""
        active = self._context.viewer.layers.selection.active
        return self.layer is not None and active is not None and active == self.layer

    def arm(self) -> None:
        """Have the next press in the canvas begin a line."""
        image, viewer = self._context.image, self._context.viewer
        if image is None:
            return
        if self.layer is not None and self.layer.ndim != image.ndim:
            self.remove()
        if self.layer is None:
            self.layer = self._make()
            with selection_kept(viewer):
                viewer.add_layer(self.layer)
            self._on_made(self.layer)
        copy_transform(image, self.layer)
        self._clear()
        viewer.layers.selection.active = self.layer
        uncover(self.layer)
        self.layer.mode = _MODE

    def escape(self) -> bool:
        """Drop the line that is being drawn; False if there is none."""
        if self.layer is None or not self.layer.nshapes:
            return False
        self._is_given_up = True
        if self._is_held:
            # napari's own end of it fails while a button is held.
            fade_shapes(self.layer, 0)
        else:
            self._end()
        return True

    def forget(self, layer: Layer) -> None:
        """Note that a layer was removed."""
        if self.layer is not None and layer == self.layer:
            self._drawn.clear()
            self.layer = None
            self._is_held = self._is_given_up = False

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        layer, layers = self.layer, self._context.viewer.layers
        if layer is not None:
            self.forget(layer)
            if layer in layers:
                layers.remove(layer)

    def close(self) -> None:
        """Stop listening and remove the layer."""
        self._selection.clear()
        self._drawn.clear()
        if not self._context.is_window_gone:
            self.remove()

    def _make(self) -> Shapes:
        image = self._context.image
        layer = Shapes(
            ndim=2 if image is None else image.ndim,
            name="SAM lasso",
            edge_color=PREVIEW_COLOR,
            face_color="transparent",
            metadata={ROLE: LASSO_ROLE},
            **({} if image is None else transform_of(image)),
        )
        self._drawn.connect(layer.events.data, self._on_data)
        layer.mouse_drag_callbacks.append(self._on_press)
        return layer

    def _on_active(self) -> None:
        layer = self.layer
        if layer is not None and not self.is_armed and layer.visible:
            layer.mode = IDLE_MODE
            layer.visible = False

    def _on_press(self, layer: Shapes, event: Any) -> Generator[None, None, None]:
        self._is_held = True
        has_moved = (yield from followed(event)) > STILL
        self._is_held = False
        if has_moved or self._is_given_up:
            # napari's own callback, which may finish the line, may come after this.
            self._context.runner.soon(self._end)

    def _on_data(self, event: Any) -> None:
        # Present participles announce a change that has not happened yet.
        if str(getattr(event, "action", "")) == "added":
            # napari is not done with the shape.
            self._context.runner.soon(self.hand_over)

    def _end(self) -> None:
        """Finish what napari has left unfinished: a line of two or three points."""
        layer = self.layer
        if layer is not None and layer.nshapes and not self._is_held:
            finish_drawing(layer)
            self.hand_over()

    def hand_over(self) -> None:
        """Hand over what was drawn, and make room for the next line."""
        layer = self.layer
        if layer is None or self._is_held:
            return
        given_up, self._is_given_up = self._is_given_up, False
        drawn = [np.asarray(vertices, float) for vertices in layer.data]
        self._clear()
        if drawn and not given_up:
            self._on_drawn(drawn[-1])

    def _clear(self) -> None:
        if self.layer is not None and self.layer.nshapes:
            self.layer.selected_data = set()
            self.layer.data = []


class Triage:
    """Chooses proposals of the plane on screen, to be decided together.

    Parameters
    ----------
    context : Context
        Shared with the other parts of the controller.
    everything : EverythingMode
        Has the proposals.
    annotator : Annotator
        Has the object under way.
    proposal_actions : ProposalActions
        Decides.
    review : Review
        Goes on with what is chosen.
    on_lasso_made : callable
        Takes the layer of the lasso, to bind its keys.
    on_put_away : callable
        Takes up the tool again that was there before the lasso.

    Attributes
    ----------
    changed : Signal()
        Others are chosen.
    status : Signal(str)
        What just happened and what to press next.
    likeness : dict of ReviewItemKey to float
        Cosine of each proposal's mean embedding with that of the one asked about; empty
        if none was.
    """

    changed = Signal()
    status = Signal(str)

    def __init__(
        self,
        context: Context,
        everything: EverythingMode,
        annotator: Annotator,
        proposal_actions: ProposalActions,
        review: Review,
        *,
        on_lasso_made: Callable[[Shapes], None],
        on_put_away: Callable[[], None],
    ) -> None:
        self._context = context
        self._everything = everything
        self._annotator = annotator
        self._proposal_actions = proposal_actions
        self._review = review
        self._on_put_away = on_put_away
        self.lasso = Lasso(self._context, self._on_drawn, on_lasso_made)
        self.likeness: dict[ReviewItemKey, float] = {}
        self._least = ALIKE

    # -- what is chosen -----------------------------------------------------

    @property
    def chosen(self) -> tuple[ReviewItem, ...]:
        """The chosen proposals that are on screen and can still be decided."""
        keys = self._everything.chosen
        if not keys:
            return ()
        return tuple(o for o in self._everything.review_items_here if o.key in keys)

    def choose(self, keys: Collection[ReviewItemKey]) -> None:
        """Choose these proposals instead of others."""
        if frozenset(keys) != self._everything.chosen:
            self._everything.choose(keys)
            self.changed.emit()

    def drop(self) -> bool:
        """Let what is chosen be, or put the lasso away; False if there is neither."""
        is_any = bool(self.chosen)
        # Also what a threshold hides by now.
        self.choose(())
        if is_any:
            self.status.emit(self._review.text_now or "They are as they were.")
        elif self.lasso.is_armed:
            self._put_lasso_away()
        else:
            return False
        return True

    def accept(self) -> bool:
        """Write what is chosen as one undo step; False if nothing is."""
        chosen = self.chosen
        if not chosen:
            return False
        self.choose(())
        self._proposal_actions.accept(chosen)
        return True

    def reject(self) -> bool:
        """Drop what is chosen as one step; False if nothing is."""
        chosen = self.chosen
        if not chosen:
            return False
        self.choose(())
        self._proposal_actions.reject(*(review_item.key for review_item in chosen))
        return True

    def reset(self) -> None:
        """Forget everything: another image or model."""
        self._context.runner.cancel(ALIKE_SLOT)
        self.likeness = {}

    def close(self) -> None:
        """Stop listening and remove our layer."""
        self.lasso.close()

    def layer_removed(self, layer: Layer) -> None:
        """Note that the user removed a layer."""
        self.lasso.forget(layer)

    @property
    def likeness_here(self) -> list[float]:
        """Likeness of the proposals on screen with the one asked about, if any was."""
        plane, known = self._context.plane, self.likeness
        if not known or all(key[0] != plane for key in known):
            return []
        here = self._everything.review_items_here
        return [known[o.key] for o in here if o.key in known]

    # -- in a lasso ---------------------------------------------------------

    def toggle_lasso(self) -> None:
        """Have the next drag choose what it is drawn around, or put the lasso away."""
        if self.lasso.is_armed:
            self._put_lasso_away()
        elif self._everything.review_items_here:
            self.lasso.arm()
            self.status.emit("Draw around proposals.  Esc ends it.")
        else:
            self.status.emit("There is nothing to choose here: find objects first (G).")
        self.changed.emit()

    def _put_lasso_away(self) -> None:
        self._on_put_away()

    def _on_drawn(self, vertices: npt.NDArray[np.float64]) -> None:
        plane, image = self._context.plane, self._context.image
        if plane is None or image is None:
            return
        outline = rasterise(
            vertices[:, list(plane.displayed)],
            "polygon",
            plane.shape(layer_shape(image)),
        )
        review_items = self._everything.review_items_here
        is_inside = inside(outline, [o.mask for o in review_items])
        new = {
            o.key
            for o, yes in zip(review_items, is_inside.tolist(), strict=True)
            if yes
        }
        if not new:
            self.status.emit("No proposal lies in it by its larger part.")
            return
        before = {review_item.key for review_item in self.chosen}
        self.likeness = {}
        self.choose(before | new)
        self.status.emit(f"{counted(len(before | new))} chosen.  {_KEYS}")

    # -- like one -----------------------------------------------------------

    @property
    def least(self) -> float:
        """Likeness from which on proposals are chosen."""
        return self._least

    def set_least(self, least: float) -> None:
        """Choose the proposals that are at least so much like the one asked about.

        The same again chooses nothing: a field that loses the focus says it once more.
        """
        is_other, self._least = least != self._least, least
        if self.likeness and is_other:
            self._choose_alike()

    def like_this_one(self) -> None:
        """Choose what looks like the proposal in review, clicked or under the cursor.

        A review goes on by likeness.
        """
        context = self._context
        plane, encoder, review_item = context.plane, context.encoder, self._this_one()
        if plane is None or encoder is None or review_item is None:
            self.status.emit("Click a proposal first, or have the cursor over it.")
            return
        if self._annotator.draft.is_proposal:
            # It was clicked to be named, not to be corrected.
            self._annotator.discard()
        review_items = self._everything.proposed.review_items(plane)
        # They may have been made anew.
        keys = [o.key for o in review_items]
        if review_item.key not in keys:
            self.status.emit("That proposal is labeled already.")
            return
        number = keys.index(review_item.key)
        context.runner.submit(
            Job(
                partial(_iter_alike, encoder, plane, review_items, number),
                priority=Priority.PREDICT,
                slot=ALIKE_SLOT,
                on_result=partial(self._on_alike, review_items),
                on_error=self._on_error,
            )
        )

    def _this_one(self) -> ReviewItem | None:
        plane = self._context.plane
        entry, adopted = self._review.current, self._annotator.adopted
        key = None
        if entry is not None and not isinstance(entry.key, int):
            key = entry.key
        elif adopted is not None:
            key = adopted.key
        if key is None:
            return self._proposal_actions.under_cursor()
        return self._proposal_actions.find(key) if key[0] == plane else None

    def _on_alike(self, review_items: Sequence[ReviewItem], alike: FloatArray) -> None:
        self.likeness = {
            o.key: float(x) for o, x in zip(review_items, alike.tolist(), strict=True)
        }
        self._review.order_by({key: -x for key, x in self.likeness.items()})
        self._choose_alike()
        self.status.emit(f"{counted(len(self.chosen))} alike.  {_KEYS}")
        self.changed.emit()

    def _choose_alike(self) -> None:
        self.choose({key for key, x in self.likeness.items() if x >= self._least})

    def _on_error(self, error: Exception) -> None:
        self.status.emit(self._context.report(error))


def _iter_alike(
    encoder: PlaneEncoder, plane: Plane, review_items: Sequence[ReviewItem], number: int
) -> Generator[None, None, FloatArray]:
    """Compare proposals with one of them; the worker's side."""
    encoded = yield from encoder.iter_get(plane)
    features = mean_features(
        encoded.embedding, [review_item.mask for review_item in review_items]
    )
    return similarity(features, number)
