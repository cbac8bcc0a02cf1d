"""The wheel: what is in it, and that it asks the demo from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = (
    "from cagul.demo.assets import demo_assets; print(demo_assets().records.parent / 'img' / 'p010_0.webp')"
)


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel_in(folder, *how):
    run(sys.executable, "-m", "build", "--wheel", *how, "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("cagul-*.whl")
    return wheel


def require_an_answer(environment, folder):
    picture = run(environment / "bin" / "python", "-c", PICTURE, cwd=folder).strip()
    words = ("ask", "Who is this person?", "--image", picture)
    assert run(environment / "bin" / "cagul", *words, cwd=folder).startswith("This is ")


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_asks_the_demo(tmp_path):
    """Installed alone; what it depends on is this environment's."""
    wheel = wheel_in(tmp_path)
    assert wheel.stat().st_size <= 25_000_000  # the pictures are 15 MB of lossy WebP, the hosts 9 MB
    names = zipfile.ZipFile(wheel).namelist()
    assert "cagul/py.typed" in names
    assert [name for name in names if not name.startswith(("cagul/", "cagul-"))] == []
    environment = tmp_path / "env"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    (packages,) = environment.glob("lib/python*/site-packages")
    here = [str(path) for path in Path(pytest.__file__).parents if path.name == "site-packages"]
    (packages / "dependencies.pth").write_text("\n".join(here))
    install = ("-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet", "--no-deps")
    run(sys.executable, *install, "--ignore-installed", wheel, cwd=tmp_path)
    where = run(environment / "bin" / "python", "-c", "import cagul; print(cagul.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    require_an_answer(environment, tmp_path)


@pytest.mark.nightly
def test_the_wheel_installs_with_its_dependencies_and_asks_the_demo(tmp_path):
    wheel, environment = wheel_in(tmp_path), tmp_path / "env"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    constraint = ("--constraint", ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "--quiet", *constraint, wheel, cwd=tmp_path)
    assert "Faker" not in run(
        python, "-m", "pip", "list", cwd=tmp_path
    )  # the demo runs without what draws it
    require_an_answer(environment, tmp_path)
