"""The training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist

from napari_sam.core.stopwatch import Stopwatch
from napari_sam.training.data.batches import iter_batches
from napari_sam.training.data.crops import Cropper
from napari_sam.training.interactive import Figures, backward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.training.data.crops import SampleGroup
    from napari_sam.training.finetune.memory import Memory
    from napari_sam.training.finetune.state import TrainingState


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Parameters
    ----------
    step : int
        Steps done.
    steps : int
        Steps in all.
    loss, first, last, maps : float
        See :class:`~napari_sam.training.interactive.Figures`, averaged over
        the batches of the step.
    gradient : float
        Norm of the gradient before clipping.
    seconds : float
        How long it took.
    """

    step: int
    steps: int
    loss: float
    first: float
    last: float
    maps: float
    gradient: float
    seconds: float


def iter_training(
    state: TrainingState,
    sources: tuple[SampleGroup, ...],
    *,
    precision: torch.dtype = torch.bfloat16,
    workers: int = 1,
    memory: Memory | None = None,
) -> Iterator[StepReport]:
    """Train from the state's step to the recipe's last, one step at a time.

    Between two steps the state is consistent: it may be saved or evaluated, and
    dropping the generator ends the run there.  Under torch's distributed
    launcher every process gets crops of its own and the gradients are averaged.

    Parameters
    ----------
    state : TrainingState
        Trained in place.
    sources : tuple of SampleGroup
        Where crops come from.
    precision : torch.dtype
        Of the arithmetic; weights and their average stay float32.
    workers : int
        Threads that prepare batches.
    memory : Memory, optional
        What the encoder is not to forget, on the sources that are remembered.

    Yields
    ------
    StepReport
        After each step.
    """
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    rank = dist.get_rank() if dist.is_initialized() else 0
    batches = iter_batches(
        Cropper(sources, state.recipe, state.network.side),
        state.recipe,
        state.step,
        rank=rank,
        ranks=ranks,
        workers=workers,
    )
    state.network.train()
    watch = Stopwatch()
    for step in batches:
        figures = [
            backward(
                state.network,
                batch,
                device=state.device,
                precision=precision,
                train_encoder=state.trains_encoder,
                share=1 / len(step),
                memory=memory,
            )
            for batch in step
        ]
        if ranks > 1:
            _average_gradients(state, ranks)
        norm = state.apply_gradients()
        yield _report(state, figures, norm, watch.elapsed)
        watch = Stopwatch()


def _report(
    state: TrainingState, figures: list[Figures], norm: float, seconds: float
) -> StepReport:
    loss, first, last, maps = np.mean(
        [(f.loss, f.first, f.last, f.maps) for f in figures], axis=0
    )
    return StepReport(
        state.step,
        state.recipe.steps,
        float(loss),
        float(first),
        float(last),
        float(maps),
        norm,
        seconds,
    )


def _average_gradients(state: TrainingState, ranks: int) -> None:
    """Average the gradients of all processes, in one message."""
    parameters = list(state.trained().values())
    gradients = [
        torch.zeros_like(p) if p.grad is None else p.grad.contiguous()
        for p in parameters
    ]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= ranks
    pieces = torch.split(flat, [g.numel() for g in gradients])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view(parameter.shape)
