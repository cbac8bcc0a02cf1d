"""Build the wheel, install it into a fresh environment, ask the demo from another folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_asks_the_demo(tmp_path):
    def run(*command, cwd=tmp_path):
        return subprocess.run(
            [str(c) for c in command], cwd=cwd, check=True, capture_output=True, text=True
        ).stdout

    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("cagul-*.whl")
    assert wheel.stat().st_size < 60_000_000
    run(sys.executable, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    freeze = run(python, "-m", "pip", "list")
    assert "Faker" not in freeze  # the demo runs without what draws it
    image = run(
        python,
        "-c",
        "from cagul.demo.assets import demo_assets; print(demo_assets().records.parent / 'img' / "
        "'p010_0.webp')",
    )
    answer = run(tmp_path / "env" / "bin" / "cagul", "ask", "Who is this person?", "--image", image.strip())
    assert answer.startswith("This is ")
