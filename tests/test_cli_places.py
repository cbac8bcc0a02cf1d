"""Places for files that cannot be: told by name, with nothing lost, and before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from cagul.cli.app import main
from cagul.cli.common import require_store
from cagul.errors import PatchError, WriteError
from cagul.files import require_writable_file, write_text
from cagul.guard.patch import Patch


@pytest.mark.parametrize("place", [".", "", "/"])
def test_a_folder_where_a_file_is_to_be_is_named(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (lambda path: write_text(path, "x"), require_writable_file):
        with pytest.raises(
            WriteError, match=f"Cannot write {Path(place)}: it names a folder, not a file"
        ) as caught:
            write(Path(place))
        assert "Name a file in it." in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("as it was")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "below", "Not a directory|File exists"),
    ):
        with pytest.raises(WriteError, match=reason):
            require_writable_file(path)
    require_writable_file(tmp_path / "file")
    require_writable_file(tmp_path / "new" / "file")
    assert (tmp_path / "file").read_text() == "as it was"
    assert not (tmp_path / "new" / "file").exists()


def test_a_report_into_a_folder(cagul, run, monkeypatch):
    monkeypatch.chdir(run)
    code, says = cagul("report", run, "--out", ".")
    assert code == 7
    assert (
        "WriteError: Cannot write .: it names a folder, not a file. Name a file in it. "
        "docs/errors.md#cannot-write" in says
    )


def test_an_overlay_is_refused_before_the_host_loads(cagul, tiny_records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "a.png"
    image.write_bytes((tiny_records.parent / "p0_0.png").read_bytes())
    (tmp_path / "link.png").symlink_to(image)
    before, asked = (
        image.read_bytes(),
        ("ask", "--host", tmp_path / "no-host", "--image", image, "Who is this?"),
    )
    for overlay in (image, "./a.png", "link.png"):
        code, says = cagul(*asked, "--overlay", overlay)
        assert code == 2
        assert (
            f"--overlay {Path(overlay)} is the picture itself, which would be lost. Give another file."
            in says
        )
    for overlay, said in (
        (".", "Cannot write .: it names a folder, not a file."),
        (tmp_path, "Is a directory"),
    ):
        code, says = cagul(*asked, "--overlay", overlay)
        assert code == 7
        assert said in says
    code, says = cagul("ask", "--overlay", image, "Who is this?")
    assert (code, "--overlay draws on one picture, and 0 came" in says) == (2, True)
    assert image.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "link.png"]


def test_a_key_without_a_store_is_no_bare_answer(cagul, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAGUL_STORE_KEY", "from-the-variable")
    for verb in (("ask", "Who is this ?"), ("serve", "--patch", tmp_path)):
        code, says = cagul(*verb, "--host", tiny_folder, "--key", "k")
        assert (
            code,
            "--key came without --store, so no request would be honoured. Give the store too." in says,
        ) == (2, True)
    require_store(None, Path("from-the-variable"))  # the variable may stand alone
    monkeypatch.setattr(
        "sys.argv", ["cagul", "ask", "Who is this ?", "--host", str(tiny_folder), "--threads", "1"]
    )
    with pytest.raises(SystemExit):
        main()
    assert "no --patch and no --store: the bare host's answer" in capsys.readouterr().out


def test_a_run_in_a_patchs_place_and_an_overlay_that_is_no_png(cagul, tiny_records, tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(
        PatchError, match=r"is a run, not a patch\.\n  Give its patch folder, such as .*/patch\."
    ):
        Patch.load(tmp_path)
    code, says = cagul(
        "ask", "--image", tiny_records.parent / "p0_0.png", "--overlay", tmp_path / "o.txt", "Who is this?"
    )
    assert (code, "does not end in .png, which it will be. Name it so." in says) == (2, True)
