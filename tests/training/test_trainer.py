"""Training step by step: the loss falls, and a run can be resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_sam.errors import FileFormatError, SettingsError
from napari_sam.training.data.batches import make_batch
from napari_sam.training.data.crops import Cropper, SampleGroup
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.finetune.state import TrainingState
from napari_sam.training.finetune.trainer import iter_training
from napari_sam.training.interactive import backward, decode

Start = Callable[[Recipe], TrainingState]
SMALL = Recipe(steps=4, side=112, images=1, prompts=3, warmup=1)


def test_the_loss_falls(start_real: Start, rods: tuple[SampleGroup, ...]) -> None:
    recipe = replace(SMALL, steps=12, warmup=2, cooldown=0.0, boxes=1.0, images=2)
    state = start_real(recipe)
    batches = [make_batch(Cropper(rods, recipe, 512), recipe, n, 0) for n in range(3)]

    def measured() -> np.ndarray:
        """Return the losses on the same crops and prompts, without learning."""
        figures = [
            backward(
                state.network,
                batch,
                device=state.device,
                precision=torch.float32,
                train_encoder=False,
            )
            for batch in batches
        ]
        state.network.zero_grad()
        return np.mean([(f.loss, f.maps) for f in figures], axis=0)

    before = measured()
    reports = list(iter_training(state, rods, precision=torch.float32))
    assert (measured() < 0.9 * before).all()
    assert [r.step for r in reports] == list(range(1, 13))


@pytest.mark.parametrize("parts", ["all", "decoder", "decoder+neck"])
def test_resuming_gives_the_weights_of_not_stopping(
    start: Start, rods: tuple[SampleGroup, ...], tmp_path: Path, parts: str
) -> None:
    recipe = replace(SMALL, parts=parts)
    whole = start(recipe)
    for report in iter_training(whole, rods, precision=torch.float32):
        if report.step == 2:
            whole.save(tmp_path / "state.safetensors")
    again = start(recipe)
    again.load(tmp_path / "state.safetensors")
    assert again.step == 2
    for _ in iter_training(again, rods, precision=torch.float32):
        pass
    for one, other in (
        (whole.averaged(), again.averaged()),
        (whole.network.state_dict(), again.network.state_dict()),
    ):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


def test_only_the_chosen_parts_change(
    start: Start, rods: tuple[SampleGroup, ...]
) -> None:
    for parts, prefixes in {
        "decoder": ("mask_decoder.", "prompt_encoder.", "prompt_head."),
        "decoder+neck": (
            "mask_decoder.",
            "prompt_encoder.",
            "prompt_head.",
            "image_encoder.neck.",
        ),
    }.items():
        state = start(replace(SMALL, steps=1, parts=parts, warmup=0))
        before = {k: v.clone() for k, v in state.network.state_dict().items()}
        list(iter_training(state, rods, precision=torch.float32))
        changed = {
            k for k, v in state.network.state_dict().items() if (v != before[k]).any()
        }
        assert changed
        assert all(k.startswith(prefixes) for k in changed)


def test_a_longer_run_goes_on_from_the_plateau(
    start: Start, rods: tuple[SampleGroup, ...], tmp_path: Path
) -> None:
    recipe = replace(SMALL, steps=4, cooldown=0.5)
    state = start(recipe)
    for report in iter_training(state, rods, precision=torch.float32):
        state.save(tmp_path / f"{report.step}.safetensors")
        if report.step == 3:
            break
    longer = start(replace(recipe, steps=8))
    longer.load(tmp_path / "2.safetensors")
    assert longer.step == 2
    with pytest.raises(FileFormatError, match="steps = 4, not 8"):
        longer.load(tmp_path / "3.safetensors")
    with pytest.raises(FileFormatError, match="seed = 0, not 7"):
        start(replace(recipe, seed=7)).load(tmp_path / "2.safetensors")


def test_the_other_side_is_free_until_it_is_used(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    start(SMALL).save(path)
    start(replace(SMALL, fine_side=160)).load(path)
    with pytest.raises(FileFormatError, match=r"fine_share = 0\.0, not 0\.5"):
        start(replace(SMALL, fine_share=0.5)).load(path)
    start(replace(SMALL, fine_share=0.5, fine_side=128)).save(path)
    with pytest.raises(FileFormatError, match="fine_side = 128, not 160"):
        start(replace(SMALL, fine_share=0.5, fine_side=160)).load(path)


def test_a_state_of_a_model_with_other_parts_is_refused(
    start: Start, tmp_path: Path
) -> None:
    older = start(SMALL)
    older.network.blend = None
    older.save(tmp_path / "state.safetensors")
    with pytest.raises(FileFormatError, match="of a model with other parts"):
        start(SMALL).load(tmp_path / "state.safetensors")


def test_a_damaged_state_is_refused(start: Start, tmp_path: Path) -> None:
    state = start(SMALL)
    path = tmp_path / "state.safetensors"
    state.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="not a training state"):
        state.load(path)
    path.write_bytes(b"not a state")
    with pytest.raises(FileFormatError, match="not a training state"):
        state.load(path)


def test_a_full_disk_leaves_the_old_state(start: Start, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    state = start(SMALL)
    path = tmp_path / "state.safetensors"
    state.save(path)
    content = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal, so that writing fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(FileFormatError, match="cannot be written"):
            state.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


def test_a_crop_is_decoded_as_its_place_in_the_frame(
    start_real: Start, rods: tuple[SampleGroup, ...]
) -> None:
    """The same prompt on the same embedding, whole and as its own crop."""
    state = start_real(SMALL)
    batch = make_batch(Cropper(rods, SMALL, 512), SMALL, 0, 0)
    with torch.no_grad():
        embedding = state.network.image_encoder(batch.images)
        at_start = decode(state.network, embedding, (0, 0), batch.xy, batch.kinds)
        moved = decode(state.network, embedding, (256, 128), batch.xy, batch.kinds)
        again = decode(state.network, embedding, (0, 0), batch.xy, batch.kinds)
    assert torch.equal(at_start[0], again[0])
    # Positions enter the arithmetic, but the answer is about the same.
    first, second = at_start[0] > 0, moved[0] > 0
    overlap = (first & second).sum() / (first | second).sum()
    assert overlap > 0.5
    assert not torch.equal(at_start[0], moved[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"side": 100}, "side is 100; choose a multiple of 16"),
        ({"parts": "encoder"}, "parts is 'encoder'"),
        ({"boxes": 1.5}, "boxes is 1.5"),
        ({"fine_steps": 9, "steps": 5}, "fine_steps is 9"),
        ({"fine_share": -0.1}, "fine_share is -0.1"),
        ({"remember": -1.0}, "remember is -1.0"),
        ({"remember": 2.0, "parts": "decoder"}, "the encoder stays as it is"),
        ({"recall": 1.5}, "recall is 1.5"),
        ({"score_shift": -2.0}, "score_shift is -2.0"),
        ({"min_size": 50.0, "max_size": 20.0}, "50.0 to 20.0"),
    ],
)
def test_a_recipe_says_what_is_wrong_with_it(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Recipe(**change)  # type: ignore[arg-type]


def test_the_plateau_does_not_depend_on_the_length() -> None:
    short, long = Recipe(steps=1000, cooldown=0.3), Recipe(steps=9000, cooldown=0.1)
    assert [short.rate(s) for s in range(700)] == [long.rate(s) for s in range(700)]
    assert short.rate(999) < 0.01
    assert Recipe.from_json(short.to_json()) == short


TWO_PROCESSES = """
import sys
import torch, torch.distributed as dist
sys.path[:0] = [{here!r}, {synthetic!r}]
from conftest import tiny_network, untrained
from napari_sam.training.data.crops import SampleGroup
from napari_sam.training.finetune.recipe import Recipe
from napari_sam.training.finetune.state import TrainingState
from napari_sam_synthetic import generate
from napari_sam.training.finetune.trainer import iter_training
torch.set_num_threads(1)
dist.init_process_group(
    "gloo", init_method={meeting!r}, rank=int(sys.argv[1]), world_size=2
)
recipe = Recipe(steps=2, side=112, images=1, prompts=2, warmup=1)
state = TrainingState(untrained(tiny_network()), recipe, torch.device("cpu"))
group = SampleGroup("rods", (generate("rods", 1, 320),))
list(iter_training(state, (group,), precision=torch.float32))
flat = torch.cat([p.detach().reshape(-1) for p in state.trained().values()])
both = [torch.zeros_like(flat) for _ in range(2)]
dist.all_gather(both, flat)
assert torch.equal(both[0], both[1])
dist.destroy_process_group()
print("the same weights")
"""


def test_several_processes_agree(tmp_path: Path) -> None:
    meeting = (tmp_path / "meeting").as_uri()
    here = Path(__file__).parent
    script = TWO_PROCESSES.format(
        here=str(here),
        synthetic=str(here.parents[1] / "synthetic" / "src"),
        meeting=meeting,
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    try:
        for process in both:
            said, error = process.communicate(timeout=180)
            assert process.returncode == 0, error[-2000:]
            assert said == "the same weights\n"
    finally:
        for process in both:
            process.kill()
            process.wait()
