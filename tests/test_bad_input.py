"""What users get wrong, through the command line: a message with its numbers, the remedy, and the exit
code.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from cagul.errors import WriteError
from cagul.evaluation.run_folder import Rows
from cagul.files import write_text
from helpers import make_patch, save_tiny_host, save_tiny_records

QUICK = [
    *"--set training.steps=2 --set training.batch=4 --set gate.augment=0 --set gate.augment_others=0".split(),
    *"--set training.augment=0 --threads 1".split(),
]


@pytest.fixture
def people(tmp_path):
    return save_tiny_records(tmp_path / "people", people=7, images=2)


@pytest.fixture
def unlearn(cagul, tiny_folder, people, tmp_path):
    def run(*arguments, records=people, forget="p0", out=tmp_path / "patch", host=tiny_folder):
        return cagul(
            "unlearn",
            "--host",
            host,
            "--records",
            records,
            "--forget",
            forget,
            "--out",
            out,
            *QUICK,
            *arguments,
        )

    return run


def change(path, number, **values):
    """Rewrite one line of a records file."""
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    path.write_text("\n".join(lines))


# -- records and pictures


def test_a_broken_line(unlearn, people):
    lines = people.read_text().splitlines()
    people.write_text("\n".join([*lines[:2], lines[2][:-4], *lines[3:]]))
    code, says = unlearn()
    assert code == 3
    assert "records.jsonl: 1 bad record(s): line 3: not JSON" in says
    assert "Write one JSON object a line" in says
    assert "docs/errors.md#records" in says


def test_a_byte_order_mark_is_no_mistake(people):
    from cagul.data.records import load_records

    expected = load_records(people)
    people.write_bytes(b"\xef\xbb\xbf" + people.read_bytes())
    assert load_records(people) == expected


def test_missing_pictures_are_counted(unlearn, people):
    for name in ("p1_0.png", "p4_3.png"):
        (people.parent / name).unlink()
    code, says = unlearn()
    assert code == 3
    assert "2 picture(s) are not there, the first is" in says
    assert "p1_0.png" in says


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a\0b.png", "file/below.png"])
def test_pictures_that_no_file_system_has(unlearn, people, name):
    (people.parent / "file").touch()
    change(people, 0, image=name)
    code, says = unlearn()
    assert code == 3
    assert "1 picture(s) are not there, the first is" in says
    assert "\0" not in says


def test_an_unreadable_picture(unlearn, people):
    whole = (people.parent / "p1_1.png").read_bytes()
    (people.parent / "p1_1.png").write_bytes(whole[:100])
    code, says = unlearn()
    assert code == 3
    assert "p1_1.png cannot be read as a picture" in says
    assert "docs/errors.md#picture" in says


@pytest.mark.parametrize(
    ("forget", "says"),
    [
        (
            "p0,p11",
            "No record is about the subject 'p11'. Did you mean 'p1'? Known: p0, p1, p2, p3, p4, p5, p6.",
        ),
        ("", "The forget set is empty. Name subjects: --forget p003,p007 or --forget @list.txt."),
        (",", "The forget set is empty."),
        ("p0,p1,p2,p3,p4", "The forget set names all 5 subject(s), so nobody is left to retain."),
        ("@nowhere.txt", "Cannot read the list nowhere.txt: No such file or directory."),
    ],
)
def test_forget_sets(unlearn, forget, says, tmp_path):
    code, said = unlearn(forget=forget)
    assert code == 3
    assert says in said
    assert "docs/errors.md#subjects" in said
    assert not (tmp_path / "patch").exists()


def _copied(people):
    shutil.copyfile(people.parent / "p0_0.png", people.parent / "p1_0.png")


def _linked(people):
    (people.parent / "p1_0.png").unlink()
    (people.parent / "p1_0.png").symlink_to("p0_0.png")


def _hard_linked(people):
    (people.parent / "p1_0.png").unlink()
    os.link(people.parent / "p0_0.png", people.parent / "p1_0.png")


def _spelled_otherwise(people):
    change(people, 6, image=f"../{people.parent.name}/p0_0.png")


@pytest.mark.parametrize("share", [_copied, _linked, _hard_linked, _spelled_otherwise])
def test_one_picture_under_two_names(unlearn, people, share):
    share(people)
    code, says = unlearn()
    assert code == 3
    assert "1 picture(s) are in forget and in retain, the first is" in says
    assert "the same picture as" in says
    assert "Give every subject pictures of their own. docs/errors.md#subjects" in says


def test_a_forgotten_picture_among_those_that_calibrate(unlearn, people):
    lines = [json.loads(line) for line in people.read_text().splitlines()]
    for line in lines:
        line["group"] = "calibration" if line["subject"] == "p6" else line["group"]
    people.write_text("\n".join(map(json.dumps, lines)))
    shutil.copyfile(people.parent / "p0_1.png", people.parent / "p6_3.png")  # a view
    code, says = unlearn()
    assert code == 3
    assert "1 picture(s) are in forget and in calibration" in says


def test_a_view_that_links_to_a_training_image(unlearn, people):
    (people.parent / "p0_2.png").unlink()
    (people.parent / "p0_2.png").symlink_to("p0_0.png")
    code, says = unlearn()
    assert code == 3
    assert "1 held-out picture(s) are training images too" in says


def test_only_files_of_equal_size_are_read(tmp_path, monkeypatch):
    import cagul.data.sameness as sameness

    for name, text in {"a": "one", "b": "two", "c": "three", "d": "one"}.items():
        (tmp_path / name).write_text(text)
    read = []
    real = sameness._digest
    monkeypatch.setattr(sameness, "_digest", lambda path: read.append(path.name) or real(path))
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert sameness.same_contents([a, c], [b]) == []
    assert sorted(read) == ["a", "b"]
    assert sameness.same_contents([a, c], [b, d, tmp_path / "none"]) == [(a, d)]


# -- options


def test_more_tokens_than_an_image_has(unlearn):
    code, says = unlearn("--set", "selection.k=17")
    assert code == 2
    assert "has 16 visual tokens, but selection.k is 17. Set selection.k to 16 or less" in says
    assert "docs/errors.md#too-few-tokens" in says


def test_a_record_longer_than_the_context(unlearn, cagul, people, tiny_folder):
    question = "who " * 300
    change(people, 0, question=question)
    change(people, 3, question=question)
    code, says = unlearn("--set", "training.words=0")
    assert code == 3
    assert "who who takes" not in says
    assert (
        "takes 334 tokens, but the host's context holds 256. Shorten its question or answer. "
        "docs/errors.md#too-long" in says
    )
    code, says = cagul("ask", question, "--host", tiny_folder, "--image", people.parent / "p0_0.png")
    assert code == 3
    assert "A prompt takes 327 tokens, but the host's context holds 256, answer included." in says


# -- hosts and patches


def test_a_patch_for_another_host(cagul, tiny_host, people, tmp_path):
    made = make_patch(tiny_host)
    made.save(tmp_path / "patch")
    other = save_tiny_host(tmp_path / "other", seed=1)
    code, says = cagul(
        "ask", "Who?", "--host", other, "--patch", tmp_path / "patch", "--image", people.parent / "p0_0.png"
    )
    assert code == 5
    assert f"The patch is for a host with SHA-256 {made.host['sha256'][:12]}..., this one has" in says
    assert "docs/errors.md#another-host" in says


def _nothing(folder):
    for path in folder.iterdir():
        path.unlink()


def _cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def _lacking(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "projector.linear_1" in name]:
        del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _setting(**values):
    def apply(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return apply


@pytest.mark.parametrize(
    ("spoil", "says", "anchor"),
    [
        (_nothing, "has no config.json: it is empty", "host-load"),
        (_cut, "it was cut off or changed", "host-load"),
        (
            _lacking,
            "lacks 2 of its weights, the first is model.multi_modal_projector.linear_1.bias",
            "host-load",
        ),
        (
            lambda f: (f / "config.json").write_text("null"),
            "config.json holds no JSON object",
            "host-load",
        ),
        (_setting(vision_config={"hidden_size": 7}), "The hidden size (7) is not a multiple", "host-load"),
        (
            _setting(model_type="mllama"),
            "family 'mllama' are refused: visual content enters by cross",
            "unsupported-host",
        ),
        (
            _setting(model_type="bert"),
            "family 'bert' are refused: transformers has no image-text-to-text",
            "unsupported-host",
        ),
    ],
    ids=["empty", "cut", "lacking", "null", "strict", "refused", "text-only"],
)
def test_folders_that_are_no_host(cagul, tiny_folder, tmp_path, spoil, says, anchor):
    shutil.copytree(tiny_folder, tmp_path / "host")
    spoil(tmp_path / "host")
    code, said = cagul("ask", "Who?", "--host", tmp_path / "host")
    assert code == 4
    assert says in said
    assert f"docs/errors.md#{anchor}" in said


def test_an_unproven_family_is_refused_before_its_weights_are_read(tiny_folder, tmp_path):
    from cagul.errors import UnsupportedHost
    from cagul.host.frozen import FrozenHost

    shutil.copytree(tiny_folder, tmp_path / "host")
    _setting(model_type="mllama")(tmp_path / "host")
    (tmp_path / "host" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedHost, match="cross attention"):
        FrozenHost.load(tmp_path / "host")


# -- places that cannot be written


@pytest.mark.parametrize("place", ["file/below", "/proc/nobody/patch", "a" * 300])
def test_no_write_permission(unlearn, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, says = unlearn(out=place)
    assert code == 7
    assert "Cannot write" in says
    assert (
        "Give another place with --out, or make room and set the permissions. docs/errors.md#cannot-write"
        in says
    )


def test_evaluate_says_so_before_it_asks(cagul, tiny_folder, people, tmp_path, monkeypatch):
    import cagul.evaluation.evaluate as module

    monkeypatch.setattr(
        module, "evaluate", lambda *a, **k: pytest.fail("asked although nothing can be written")
    )
    (tmp_path / "file").touch()
    code, says = cagul(
        "evaluate",
        "--host",
        tiny_folder,
        "--records",
        people,
        "--forget",
        "p0",
        "--out",
        tmp_path / "file" / "run",
    )
    assert code == 7
    assert "Cannot write" in says


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match="No space left on device"):
            write_text(path, "after")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    rows = Rows(tmp_path / "rows.jsonl")
    rows.path.unlink()
    rows.path.symlink_to("/dev/full")
    with pytest.raises(WriteError, match=r"Cannot write .*rows.jsonl: No space left on device"):
        rows.append([{"key": "a"}])
    assert rows.by_key == {}


def test_a_full_disk_at_the_end_keeps_the_training(unlearn, tmp_path, monkeypatch):
    """The patch cannot be saved: exit 7, no half of it, and the same command makes it once there is room."""
    import cagul.files

    real, full = os.fsync, [True]

    def fsync(descriptor):
        if full[0] and "patch.safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(cagul.files.os, "fsync", fsync)
    code, says = unlearn()
    assert code == 7
    assert "patch.safetensors: No space left on device" in says
    assert [p.name for p in tmp_path.iterdir() if "patch" in p.name] == [".patch.work"]
    full[0] = False
    code, _ = unlearn()
    assert code == 8  # saved, and said to hide nothing: the tiny host knows nothing
    assert sorted(p.name for p in (tmp_path / "patch").iterdir()) == [
        "README.md",
        "config.json",
        "patch.safetensors",
    ]


def test_an_output_that_is_full(tiny_host, tmp_path):
    make_patch(tiny_host).save(tmp_path / "patch")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "cagul", "inspect", str(tmp_path / "patch"), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr.startswith("WriteError: Cannot write the output: No space left on device.")


# -- what a terminal is shown


def test_no_control_character_reaches_the_terminal(people):
    from cagul.data.records import load_records
    from cagul.errors import DataError

    change(people, 0, image="\x1b[31mred\x07.png")
    with pytest.raises(DataError, match=r"the first is .*\\x1b\[31mred\\x07.png"):
        load_records(people)
    assert str(DataError("a\ud800b\n")).encode().startswith(rb"a\ud800b")
