"""The front of a host: bit-equal tokens and attention from a part of the weights, proven by a manifest."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from cagul.errors import HostError, PatchError, UsageError
from cagul.guard.guard import Guard
from cagul.guard.sealed_names import SealedNames
from cagul.host.front import Manifest, NoHead, cut
from cagul.host.frozen import FrozenHost
from cagul.text.person_names import parse_names
from families import FAMILIES, shared_host
from helpers import make_patch, picture


def front_of(host, folder, layers):
    """The front of a host in memory, by its files; its processor is the host's."""
    host.model.save_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    cut(config, layers)
    model = AutoModelForImageTextToText.from_pretrained(folder, config=config)
    model.set_output_embeddings(NoHead())
    return FrozenHost(model, host.processor, host.name)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_front_gives_the_tokens_of_its_host_to_the_bit(name, tmp_path):
    with shared_host(name) as host:
        patch = make_patch(host)
        front = front_of(host, tmp_path, patch.depth)
        manifest = Manifest.of(host)
        inputs = host.inputs([host.prompter.prompt("Who is this person ?")], [picture(1)])
        whole = Guard(host, patch).encode(inputs)
        front.manifest = manifest
        encoded = Guard(front, patch).encode(inputs)
    assert whole.fired
    assert encoded.decisions[0].chosen == whole.decisions[0].chosen
    assert encoded.decisions[0].score == whole.decisions[0].score
    assert all(torch.equal(a, b) for a, b in zip(encoded.tokens, whole.tokens, strict=True))
    assert front.layers == patch.depth < host.layers
    assert front.weight_bytes() < host.weight_bytes()


@pytest.fixture(scope="module")
def manifest(loaded_tiny_host, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "host.json"
    Manifest.of(loaded_tiny_host).save(path)
    return path


def test_a_front_is_loaded_for_a_patch_and_cannot_answer(tiny_host, tiny_folder, manifest, tmp_path):
    patch = make_patch(tiny_host)
    saved = patch.save(tmp_path / "patch")
    guard = Guard.load(tiny_folder, saved, part="front", manifest=manifest)
    assert guard.host.layers == patch.depth
    assert guard.host.fingerprint() == tiny_host.fingerprint()
    inputs = tiny_host.inputs([tiny_host.prompter.prompt("Who is this person ?")], [picture(1)])
    assert guard.encode(inputs).fired
    for answer in (
        lambda: guard.generate(**inputs, max_new_tokens=2),
        lambda: guard(**inputs),
        lambda: guard.host.model(**inputs),
    ):
        with pytest.raises(HostError, match="cannot answer"):
            answer()


def test_a_front_cannot_be_asked_by_a_name_probe(tiny_host, tmp_path):
    patch = make_patch(tiny_host, fires=False, gate={"kind": "mlp", "probe": "name"})
    patch.names = SealedNames.of(parse_names(["Ada Finch"]), 1, bytes(32)).gate(bytes(32))
    front = front_of(tiny_host, tmp_path, patch.depth)
    inputs = tiny_host.inputs([tiny_host.prompter.prompt("Who is this person ?")], [picture(1)])
    with pytest.raises(HostError, match="has a name probe"):
        Guard(front, patch, check=False).encode(inputs)


def test_a_front_without_a_manifest_is_of_no_known_host(tiny_host, tiny_folder):
    front = FrozenHost.load(tiny_folder, part="front")
    assert front.layers == 2
    with pytest.raises(HostError, match="no manifest"):
        Guard(front, make_patch(tiny_host))
    with pytest.raises(HostError, match="cannot write the manifest"):
        Manifest.of(front)


def test_what_is_not_as_the_manifest_says_is_refused(tiny_folder, manifest, tmp_path):
    with pytest.raises(HostError, match=r"manifest is of another host: \d+ of \d+ tensors"):
        FrozenHost.load(tiny_folder, part="front", manifest=manifest, dtype="bfloat16")
    changed = shutil.copytree(tiny_folder, tmp_path / "host")
    settings = json.loads((changed / "tokenizer_config.json").read_text())
    (changed / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 77}))
    with pytest.raises(
        HostError, match=r"1 of \d+ files are not as it says, the first is tokenizer_config.json"
    ):
        FrozenHost.load(changed, part="front", manifest=manifest)
    front = FrozenHost.load(tiny_folder, part="front", manifest=manifest)
    next(front.model.parameters()).data.view(-1)[0] += 1
    with pytest.raises(HostError, match=r"1 of \d+ tensors"):
        front.fingerprint()


def test_a_manifest_of_another_host_is_not_the_patchs(tiny_host, tiny_folder, manifest, tmp_path):
    """A manifest whose tensors are the front's and whose host is not the patch's: refused by the patch."""
    foreign = Manifest.load(manifest).model_copy(update={"sha256": "0" * 64})
    front = FrozenHost.load(tiny_folder, part="front", manifest=foreign)
    with pytest.raises(PatchError, match="SHA-256"):
        Guard(front, make_patch(tiny_host))
    (tmp_path / "bad.json").write_text('{"format": 2}')
    with pytest.raises(HostError, match="holds no manifest"):
        Manifest.load(tmp_path / "bad.json")


def test_options_of_a_front_that_do_not_fit(tiny_host, tiny_folder, manifest):
    with pytest.raises(UsageError, match="front of 9 layers"):
        FrozenHost.load(tiny_folder, part="front", layers=9)
    with pytest.raises(UsageError, match="for the front of a host"):
        FrozenHost.load(tiny_folder, manifest=manifest)
    patch = make_patch(tiny_host, attention={"kind": "occlusion"})
    with pytest.raises(PatchError, match="asks the whole host"):
        Guard(FrozenHost.load(tiny_folder, part="front", manifest=manifest), patch)


def test_the_command_writes_the_manifest(tiny_folder, tiny_host, manifest, cagul, tmp_path):
    code, said = cagul("manifest", "--host", tiny_folder, "--out", tmp_path / "m.json", "--threads", 1)
    assert code == 0, said
    assert json.loads((tmp_path / "m.json").read_text()) == json.loads(manifest.read_text())
    assert Manifest.load(tmp_path / "m.json").sha256 == tiny_host.fingerprint()
