"""A real session, killed: the benchmark that counts what is lost, in short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_session_loses_and_doubles_nothing() -> None:
    command = [
        sys.executable, str(KILL), "--kills", "2", "--shape", "4,256,256",
        "--longest", "2", "--seed", "3",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0, otherwise wrong 0" in done.stdout
