"""Kill a session at random instants, and count what is lost or doubled.

A real session (viewer model, controller, model, labels of up to 64 x 2048 x 2048)
clicks and accepts, paints, erases, undoes, redoes and saves in a process of its own,
which tells through a pipe what it is about to write and what it has called written.
Then comes SIGKILL.  The project is opened in a fresh process, which must find one of
the states that the pipe told: the last one called written, or one begun after it.  The
next session goes on from there.

    python benchmarks/kill.py [--kills 200] [--shape 64,2048,2048] [--minutes M]

Prints how many transactions were lost and doubled, and what the journal costs per
accept; ends with 1 if anything was lost, doubled or otherwise not as it was written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import zlib
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

# Before torch: a pool of threads does not survive the forks below.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from napari.components import ViewerModel

from napari_sam.core.annotation.journal import Journal
from napari_sam.core.embeddings.engine import Engine
from napari_sam.core.embeddings.store import EmbeddingStore
from napari_sam.io.project import open_folder
from napari_sam.models import load_model
from napari_sam.viewer.background.worker import SyncRunner
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.projects.session import ProjectSession
from napari_sam.viewer.session import Session
from napari_sam.viewer.settings import AnnotationSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

State = dict[str, int]
"""Checksum of each plane that is not empty, and of the records."""


def make_image(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.uint8]:
    """Return discs on noise; every plane is the same, so that one is encoded."""
    rng = np.random.default_rng(seed)
    height, width = shape[-2:]
    plane = rng.normal(40, 6, (height, width))
    rows, columns = np.mgrid[:height, :width]
    step = max(32, min(height, width) // 16)
    for row in range(step // 2, height, step):
        for column in range(step // 2, width, step):
            disc = (rows - row) ** 2 + (columns - column) ** 2 < (step * 0.3) ** 2
            plane[disc] += 130
    pixels = plane.clip(0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, shape)


def places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the middles of the discs."""
    height, width = shape[-2:]
    step = max(32, min(height, width) // 16)
    return [
        (row, column)
        for row in range(step // 2, height, step)
        for column in range(step // 2, width, step)
    ]


def state_of(labels: Any, records: Any, planes: set[int] | None = None) -> State:
    """Return the checksums of labels and records."""
    found = {
        str(z): zlib.crc32(np.ascontiguousarray(labels[z]))
        for z in (range(len(labels)) if planes is None else sorted(planes))
        if labels[z].any()
    }
    plain = json.dumps(records.to_json()["objects"], sort_keys=True)
    return found | {"records": zlib.crc32(plain.encode())}


# -- the session that is killed ---------------------------------------------


def annotate(
    path: Path, image: Any, engine: Engine, seed: int, tell: Callable[[Any], None]
) -> None:
    """Open the project, then write until the end comes."""
    rng = random.Random(seed)
    sums: dict[str, int] = {}
    write = ProjectSession._on_applied

    def tell_first(project: ProjectSession, transaction: Any) -> None:
        labels, records = controller.labels.layer.data, controller.context.records
        for change in transaction.pixels:
            for z in range(change.start[0], change.start[0] + change.mask.shape[0]):
                # A stroke is told before its pixels change.
                plane = labels[z : z + 1].copy()
                box = (slice(0, 1), *change.box[1:])
                part = change.mask[z - change.start[0]][None]
                first = np.count_nonzero(change.mask[: z - change.start[0]])
                count = np.count_nonzero(part)
                plane[box][part] = change.after[first : first + count]
                sums.pop(str(z), None)
                if plane.any():
                    sums[str(z)] = zlib.crc32(plane)
        plain = json.dumps(records.to_json()["objects"], sort_keys=True)
        sums["records"] = zlib.crc32(plain.encode())
        tell({"planned": dict(sums)})
        write(project, transaction)

    ProjectSession._on_applied = tell_first  # type: ignore[method-assign]
    viewer = ViewerModel()
    layer = viewer.add_image(image, name="image")
    controller = Controller(
        viewer,
        SyncRunner(),
        store=engine.store,
        settings=AnnotationSettings(prefetch=False),
    )
    controller.loader.use(engine)
    controller.choose_image(layer)
    if path.exists():
        controller.projects.open(path, layer)
    else:
        controller.new_labels()
        controller.projects.save_as(path)
    sums |= state_of(controller.labels.layer.data, controller.context.records)
    spent: list[float] = []
    append = Journal.append

    def timed(self: Journal, transaction: Any) -> int:
        start = time.perf_counter()
        number = append(self, transaction)
        spent.append(time.perf_counter() - start)
        return number

    Journal.append = timed  # type: ignore[method-assign]
    tell({"opened": dict(sums)})
    session = Session(controller)
    middles = places(image.shape)
    while True:
        spent.clear()
        labels = controller.labels.layer
        action = rng.choices(
            ("accept", "boxes", "paint", "erase", "undo", "redo", "save"),
            (10, 2, 3, 2, 3, 2, 0.4),
        )[0]
        z = rng.randrange(image.shape[0])
        row, column = rng.choice(middles)
        if action == "accept":
            session.add_point((z, row, column))
            session.accept()
        elif action == "boxes":
            for r, c in ((row, column), rng.choice(middles)):
                session.add_box((z, r - 12, c - 12), (z, r + 12, c + 12))
            session.accept()
        elif action in ("paint", "erase"):
            labels.selected_label = 0 if action == "erase" else rng.randrange(1, 40)
            labels.brush_size = rng.randrange(3, 40)
            labels.paint((z, row, column), labels.selected_label)
        elif action == "undo":
            labels.undo()
        elif action == "redo":
            labels.redo()
        elif controller.projects.path is not None:
            controller.projects.save()
        tell({"written": True, "action": action, "seconds": sum(spent)})


# -- the one that kills -----------------------------------------------------


def in_child(work: Callable[[Callable[[Any], None]], None]) -> tuple[int, int]:
    """Run work in a fork; return its process and the end of its pipe."""
    end, start = os.pipe()
    process = os.fork()
    if process:
        os.close(start)
        return process, end
    os.close(end)
    status = 1
    try:
        work(lambda value: os.write(start, (json.dumps(value) + "\n").encode()))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def read_all(end: int, until: float | None = None) -> bytes:
    """Read a pipe to its end, or to a time."""
    data = b""
    while True:
        left = None if until is None else until - time.monotonic()
        if left is not None and (
            left <= 0 or not select.select([end], [], [], left)[0]
        ):
            return data
        block = os.read(end, 1 << 16)
        if not block:
            return data
        data += block


def look(path: Path, tell: Callable[[Any], None]) -> None:
    """Tell what a fresh process finds in the project."""
    folder = open_folder(path)
    state = folder.read()
    tell(
        {
            "state": state_of(state.labels, state.records),
            "problems": state.problems,
            "read_only": folder.is_read_only,
        }
    )
    folder.close()


def found(path: Path) -> dict[str, Any]:
    """Return what a fresh process finds in the project."""
    process, end = in_child(lambda tell: look(path, tell))
    data = read_all(end)
    os.close(end)
    os.waitpid(process, 0)
    return json.loads(data) if data else {"state": None, "problems": ["unreadable"]}


def main() -> int:
    """Kill and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--shape", default="64,2048,2048")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="end after so long")
    parser.add_argument("--longest", type=float, default=4.0, help="seconds of life")
    options = parser.parse_args()
    shape = tuple(int(n) for n in options.shape.split(","))
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    lost = doubled = other = written = under_way = saves = 0
    costs: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["NAPARI_SAM_STATE_DIR"] = str(root / "state")
        image = make_image(shape, options.seed)
        store = EmbeddingStore(root / "embeddings")
        engine = Engine(load_model(device="cpu"), store)
        controller = Controller(
            ViewerModel(), SyncRunner(), store=store,
            settings=AnnotationSettings(prefetch=False),
        )  # fmt: skip
        controller.loader.use(engine)
        # Encoded before the forks, which share it.
        controller.choose_image(controller.viewer.add_image(image, name="image"))
        controller.close()
        path = root / "killed.napari-sam"
        known: State | None = None
        kills, start = 0, time.monotonic()
        for number in range(options.kills):
            if options.minutes and time.monotonic() - start > 60 * options.minutes:
                break
            kills += 1
            seed = rng.randrange(1 << 30)
            process, end = in_child(
                lambda tell, seed=seed: annotate(path, image, engine, seed, tell)
            )
            data = b""
            if known is None or rng.random() < 0.9:
                # Mostly while it writes; else it may die while it opens.
                while b"\n" not in data:
                    block = os.read(end, 1 << 16)
                    if not block:
                        print("the session ended by itself", file=sys.stderr)
                        return 1
                    data += block
            data += read_all(end, time.monotonic() + rng.uniform(0, options.longest))
            os.kill(process, signal.SIGKILL)
            data += read_all(end)
            os.close(end)
            os.waitpid(process, 0)
            lines = [json.loads(x) for x in data.decode().split("\n")[:-1]]
            if lines and known is not None and lines[0].get("opened") != known:
                other += 1
            # States told, and how far what was called written reaches.
            states = [known] if not lines else [lines[0]["opened"]]
            sure = 0
            for line in lines[1:]:
                if "planned" in line:
                    states.append(line["planned"])
                else:
                    if line["action"] in ("accept", "boxes") and line["seconds"]:
                        costs.append(line["seconds"])
                    saves += line["action"] == "save"
                    written += len(states) - 1 - sure
                    sure = len(states) - 1
            after = found(path)
            state = after["state"]
            known = state
            if after["problems"] or after.get("read_only"):
                print(f"kill {number + 1}: {after}", file=sys.stderr)
                other += 1
            if state in states[sure:]:
                under_way += state not in states[sure : sure + 1]
                continue
            if state in states:
                lost += sure - states.index(state)
            elif state is not None and state["records"] not in [
                s["records"] for s in states if s is not None
            ]:
                doubled += 1
            else:
                other += 1
            print(f"kill {number + 1}: not what was written", file=sys.stderr)
    print(f"{kills} kills of sessions on labels of {shape}")
    print(
        f"transactions called written {written}, saves {saves};"
        f" under way and kept whole {under_way}"
    )
    print(f"lost {lost}, doubled {doubled}, otherwise wrong {other}")
    if costs:
        costs.sort()
        print(
            f"journal per accept: median {median(costs) * 1e3:.2f} ms,"
            f" p95 {costs[int(len(costs) * 0.95)] * 1e3:.2f} ms ({len(costs)} accepts)"
        )
    return 1 if lost or doubled or other else 0


if __name__ == "__main__":
    raise SystemExit(main())
