"""Adapted models on disk: found by name, never half written, removed on request."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sam as ns
from napari_sam.cli import main
from napari_sam.errors import FileFormatError, ModelError, SettingsError
from napari_sam.io import read_image
from napari_sam.models.metadata import read_metadata
from napari_sam.models.user_models import (
    check_name,
    export_model,
    free_path,
    remove_model,
)
from napari_sam.samples import SAMPLES

if TYPE_CHECKING:
    from napari_sam.core.model import Model
    from napari_sam.training.adapt.adapted import Adapted

LABELS = Path(__file__).parent / "data" / "ovule_plane_16.png"
QUICK = {"steps": 1, "objects": 2, "side": 16}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(read_image(SAMPLES["ovule"].path).data)[16]


@pytest.fixture(scope="module")
def adapted(image: np.ndarray) -> Adapted:
    """Return the result of one step: hardly better, but all there."""
    labels = np.asarray(read_image(LABELS).data)
    return ns.adapt(image, labels, base="mobile-sam", **QUICK)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep models out of the user's folder; it need not exist."""
    place = tmp_path / "models"
    monkeypatch.setenv("NAPARI_SAM_MODELS_DIR", str(place))
    return place


def names() -> list[str]:
    return [spec.name for spec in ns.list_models() if not spec.bundled]


def test_a_saved_model_is_found_by_name(
    adapted: Adapted, image: np.ndarray, model: Model, folder: Path
):
    path = adapted.save("my cells")
    assert path == folder / "my cells.safetensors"
    assert path.stat().st_size < 25e6
    spec = next(s for s in ns.list_models() if s.name == "my cells")
    assert "mobile-sam adapted" in spec.description
    assert spec.licence == next(
        s.licence for s in ns.list_models() if s.name == "mobile-sam"
    )
    again = ns.load_model("my cells", device="cpu")
    # The encoder is that of the base to the bit: its embeddings go on.
    assert again.encoder_fingerprint == model.encoder_fingerprint
    assert again.fingerprint != model.fingerprint
    plane = again.restore(model.encode(image).embedding)
    mine = adapted.model(device="cpu").restore(plane.embedding)
    np.testing.assert_array_equal(
        plane.predict(points=[(60, 60)]).logits, mine.predict(points=[(60, 60)]).logits
    )
    about = read_metadata(path)
    figures = json.loads(about["figures"])
    assert figures["before"] == adapted.before.to_json()
    assert about["base"] == "mobile-sam"
    assert str(adapted.n_objects) in about["trained_on"]
    assert json.loads(about["recipe"])["steps"] == 1


def test_a_name_is_never_taken_from_another(adapted: Adapted):
    paths = [adapted.save(n) for n in ("cells", "cells", "Cells", "mobile-sam")]
    assert [p.stem for p in paths] == ["cells", "cells-2", "Cells-3", "mobile-sam-2"]
    assert sorted(names()) == sorted(p.stem for p in paths)


@pytest.mark.parametrize(
    "name", ["", " ", ".hidden", "a/b", "..", "a" * 65, "x\ny", "-x", "a.", "C:\\x"]
)
def test_names_that_are_no_file_names_are_refused(name: str):
    for check in (check_name, free_path):
        with pytest.raises(SettingsError, match="cannot be the name"):
            check(name)


def test_removing_and_exporting(
    adapted: Adapted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = adapted.save("cells")
    other = tmp_path / "other.safetensors"
    assert main(["models", "--export", "cells", str(other)]) == 0
    assert other.read_bytes() == path.read_bytes()
    assert main(["models"]) == 0
    assert "mobile-sam adapted" in capsys.readouterr().out
    assert main(["models", "--remove", "cells"]) == 0
    assert not path.exists()
    assert main(["models", "--remove", "cells"]) == 2
    assert "no model of yours" in capsys.readouterr().err
    assert main(["models", "--remove", "mobile-sam"]) == 2
    assert "not removed" in capsys.readouterr().err
    with pytest.raises(ModelError, match="no model"):
        remove_model("nothing")
    with pytest.raises(FileFormatError, match="ends in"):
        export_model("mobile-sam", tmp_path / "x.pt")
    with pytest.raises(FileFormatError, match="cannot be written"):
        export_model("mobile-sam", tmp_path / "no" / "x.safetensors")


def test_the_command_saves_only_what_is_better(
    image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from imageio.v3 import imwrite

    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    imwrite(tmp_path / "images" / "ovule.png", image)
    (tmp_path / "masks" / "ovule.png").write_bytes(LABELS.read_bytes())
    arguments = ["adapt", str(tmp_path), "--base", "mobile-sam", "--name", "cells"]
    code = main([*arguments, "--steps", "1", "--no-cache"])
    said = capsys.readouterr()
    assert "1 click" in said.out
    assert (code, names()) in ((0, ["cells"]), (1, []))
    assert main([*arguments, "--name", "a/b"]) == 2
    assert "cannot be the name" in capsys.readouterr().err
    assert main([*arguments, "--base", "nothing"]) == 2
    assert "no model called" in capsys.readouterr().err


# -- faults -----------------------------------------------------------------

_SAVING = """
    import resource, sys
    import torch
    from pathlib import Path
    from napari_sam.errors import FileFormatError
    from napari_sam.models.sam1.checkpoint import load_network, encoder_fingerprint
    from napari_sam.models.registry import find_model
    from napari_sam.training.adapt.settings import AdaptSettings
    from napari_sam.training.adapt.measure import Scores
    from napari_sam.training.adapt.adapted import Adapted, Base
    network = load_network(find_model("mobile-sam").path)
    base = Base("mobile-sam", "MIT", encoder_fingerprint(network))
    scores = Scores(0.5, 0.6, 0.7)
    adapted = Adapted(network, (), base, scores, scores, 4, 1, 1, ("x",),
                      AdaptSettings(), 0, 1.0)
    adapted.save("first")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own; what kills it does not kill the tests."""
    source = textwrap.dedent(_SAVING) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_full_disk_leaves_nothing(folder: Path):
    done = run("""
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
        try:
            adapted.save("second")
        except FileFormatError as error:
            print(error)
    """)
    assert done.returncode == 0, done.stderr
    assert "second.safetensors cannot be written" in done.stdout
    assert [p.name for p in folder.iterdir()] == ["first.safetensors"]
    assert ns.load_model("first", device="cpu").name == "first"


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
def test_a_kill_while_saving_leaves_the_models_as_they_were(folder: Path):
    done = run("""
        import os, signal, threading, time
        def kill():
            # As soon as the second file begins to grow, whatever it is called.
            while not any(p.stat().st_size for p in Path(sys.argv[0] or ".").iterdir()
                          if p.name.startswith(".napari-sam.")):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        from napari_sam.models.registry import models_folder
        sys.argv[0] = str(models_folder())
        threading.Thread(target=kill, daemon=True).start()
        # Slow enough to be caught in the act.
        from napari_sam.models.sam1 import checkpoint
        fsync = os.fsync
        os.fsync = lambda handle: (time.sleep(30), fsync(handle))
        adapted.save("second")
    """)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names() == ["first"]
    assert ns.load_model("first", device="cpu").name == "first"
    with pytest.raises(ModelError, match="no model called"):
        ns.load_model("second")
