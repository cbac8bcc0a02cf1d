"""Patches on a hub: huggingface_hub's conventions against a client that keeps folders, and what must never be
public.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file

from cagul.errors import PatchError
from cagul.guard.guard import Guard
from cagul.guard.patch import FILES, Patch
from cagul.method.gate import EnrolmentGate
from helpers import make_patch


class Hub:
    """A hub of folders. A repository that was not made here is ``private`` as it says."""

    def __init__(self, root: Path):
        self.root, self.private, self.calls = root, {}, []

    def __call__(self, token=None):
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo_id, *, repo_type, private, exist_ok):
        assert repo_type == "model"
        assert exist_ok
        self.calls.append(("create", repo_id, private))
        self.private.setdefault(repo_id, bool(private))

    def model_info(self, repo_id):
        return SimpleNamespace(private=self.private[repo_id])

    def upload_folder(self, *, repo_id, folder_path, revision, commit_message, allow_patterns):
        self.calls.append(("upload", repo_id, revision, commit_message))
        assert sorted(path.name for path in folder_path.iterdir()) == sorted(allow_patterns)
        shutil.copytree(folder_path, self.root / repo_id)
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")

    def snapshot_download(self, repo_id, *, allow_patterns, revision=None):
        self.calls.append(("download", repo_id, revision))
        assert set(allow_patterns) == set(FILES)
        return str(self.root / repo_id)

    @property
    def uploads(self):
        return [call for call in self.calls if call[0] == "upload"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    return hub


def enrolled(host):
    patch = make_patch(host, gate={"kind": "enrolment"})
    width = 2 * host.width
    patch.gate = EnrolmentGate(
        torch.zeros(width), torch.ones(width, 3), torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    )
    return patch


def test_a_patch_with_face_templates_goes_to_a_private_repository(tiny_host, hub):
    patch = enrolled(tiny_host)
    assert patch.push_to_hub("me/forget", token="t") == "hub/me/forget/commit/1"
    assert hub.calls[:2] == [("token", "t"), ("create", "me/forget", True)]
    assert "face templates" in (hub.root / "me/forget/README.md").read_text()


def test_it_is_refused_where_everybody_reads(tiny_host, hub):
    patch = enrolled(tiny_host)
    with pytest.raises(
        PatchError, match=r"holds 5 face templates, which are personal data, and private=False is public"
    ) as caught:
        patch.push_to_hub("me/forget", private=False)
    assert caught.value.anchor == "public-patch"
    hub.private["me/shown"] = False
    with pytest.raises(
        PatchError, match=r"holds 5 face templates.*, and me/shown is public.\n  Make that repository private"
    ):
        patch.push_to_hub("me/shown")
    assert hub.uploads == []


def test_without_templates_it_is_the_users_choice(tiny_host, hub):
    patch = make_patch(tiny_host)
    for name, private in (("me/hub-decides", None), ("me/public", False), ("me/private", True)):
        patch.push_to_hub(name, private=private, revision="v1", commit_message="two people")
        assert ("create", name, private) in hub.calls
    assert hub.uploads[0] == ("upload", "me/hub-decides", "v1", "two people")


def test_what_was_pushed_comes_back_and_guards(tiny_host, tiny_folder, hub):
    patch = make_patch(tiny_host)
    patch.push_to_hub("me/forget")
    again = Patch.from_pretrained("me/forget", revision="v1")
    assert ("download", "me/forget", "v1") in hub.calls
    assert again.digest() == patch.digest()
    assert again.describe() == patch.describe()
    assert Guard.load(tiny_folder, "me/forget").patch.digest() == patch.digest()


def test_a_folder_is_read_as_it_is(tiny_host, tmp_path, hub):
    folder = make_patch(tiny_host).save(tmp_path / "patch")
    assert Patch.from_pretrained(folder).digest() == Patch.load(folder).digest()
    assert hub.calls == []


def test_the_card_says_what_a_hub_wants_to_know(tiny_host, tmp_path):
    card = (make_patch(tiny_host).save(tmp_path / "patch") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: cagul\npipeline_tag: image-text-to-text\n")
    assert load_file(tmp_path / "patch" / "patch.safetensors")


def test_what_a_hub_refuses_is_a_patch_error(tiny_host, hub, monkeypatch):
    def refuse(*_, **__):
        raise HfHubHTTPError("403 Forbidden", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(PatchError, match="does not take the patch as me/forget: 403 Forbidden") as caught:
        make_patch(tiny_host).push_to_hub("me/forget")
    assert caught.value.anchor == "patch-hub"


def test_a_patch_that_no_hub_gives_is_a_patch_error(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(PatchError, match="me/nowhere is no patch folder, and no hub gives it: "):
        Patch.from_pretrained("me/nowhere")
    with pytest.raises(PatchError, match="a/b/c is no patch folder, and no hub gives it: "):
        Patch.from_pretrained("a/b/c")
