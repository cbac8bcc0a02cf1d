"""The gate for names: what is sealed beside a patch, and what becomes of prompts that hold a name."""

from __future__ import annotations

import json
import queue
import shutil
from pathlib import Path

import pytest
import torch

from cagul.errors import NamesOffWarning, UsageError
from cagul.guard.guard import Guard
from cagul.guard.names import NamesInPrompt, Replaced, put_back
from cagul.guard.output_filter import FilterFacts, LearnedValues
from cagul.guard.patch import Patch
from cagul.guard.sealed_names import SealedNames, key_beside, make_key, seal_names, sealed_path
from cagul.guard.stand_ins import pieces_with_names, with_names
from cagul.serving.engine import Done, Engine, Job
from cagul.serving.sampling import SampledChoice, Sampling
from cagul.text.person_names import parse_names
from families import FAMILIES, shared_host
from helpers import make_patch, picture
from served import OneGuard

SECRET = b"k" * 32
GOLDEN_PATCH = Path(__file__).parent / "golden" / "patch-format-1" / "patch"
NAMED = "Where do Ada Finch live ?"
NAMELESS = "Where do they live ?"


def named_patch(host, *names, fires=False):
    patch = make_patch(host, fires=fires)
    patch.names = SealedNames.of(parse_names(names), len(names), SECRET).gate(SECRET)
    return patch


def asked(host, question, pictures=0):
    return host.inputs([host.prompter.prompt(question, pictures)], [picture(n) for n in range(pictures)])


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


@pytest.mark.parametrize("pictures", [0, 1])
@torch.no_grad()
def test_a_prompt_without_a_name_is_the_hosts_bit_for_bit_and_one_with_it_is_about_a_stranger(host, pictures):
    guard = Guard(host, named_patch(host, "Ada Finch"))
    nameless, named = (asked(host, question, pictures) for question in (NAMELESS, NAMED))
    assert torch.equal(guard(**nameless).logits, host.model(**nameless).logits)
    assert guard.names_replaced == 0
    logits = guard(**named).logits
    assert guard.names_replaced == 1
    assert not torch.equal(logits, host.model(**named).logits)
    changed = guard.patch.names.look(named, host.processor.tokenizer, host.image_token)
    stranger = named | {"input_ids": changed.ids}
    assert torch.equal(logits, host.model(**stranger).logits)
    assert "Finch" not in host.processor.tokenizer.decode(changed.ids[0])


def test_generation_gives_the_prompt_back_as_it_was(host):
    guard = Guard(host, named_patch(host, "Ada Finch"))
    inputs = asked(host, NAMED)
    output = guard.generate(**inputs, **host.generation_options(4))
    assert torch.equal(output[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])


def test_earlier_turns_and_every_prompt_of_a_batch_are_looked_at(tiny_host):
    guard = Guard(tiny_host, named_patch(tiny_host, "Ada Finch", "Cy Venn"))
    prompts = [
        tiny_host.prompter.prompt(NAMELESS, 0, [("Who is Ada Finch ?", "Cy Venn do not know .")]),
        tiny_host.prompter.prompt(NAMELESS, 0),
        tiny_host.prompter.prompt("Tell me the name of Finch, Ada ?", 0),
    ]
    guard.generate(**tiny_host.inputs(prompts, []), **tiny_host.generation_options(2))
    assert guard.names_replaced == 3


def test_the_answer_says_how_many_names_were_found(tiny_host):
    guard = Guard(tiny_host, named_patch(tiny_host, "Ada Finch"))
    assert guard.answer(None, NAMED).names == 1
    assert guard.answer(None, NAMELESS).names == 0
    with guard.disabled():
        assert guard.answer(None, NAMED).names == 0


class Pieces:
    """Stands for TokenTexts: what each token says."""

    said = {50: " Dor", 51: " Pus", 52: "t", 5: "."}

    def pieces(self, ids):
        return [self.said.get(token, f" {token}") for token in ids]


def test_the_name_is_put_back_into_every_answer_to_its_prompt():
    given = torch.tensor([[1, 7, 8], [1, 2, 3]])
    changed = torch.tensor([[1, 50, 51], [1, 2, 3]])
    replaced = Replaced(0, 1, (7, 8), (50, 51), "Ada Finch", "Dor Pus")
    found = NamesInPrompt(given, changed, (replaced,), Pieces())
    answers = [[9, 50, 51, 5], [50, 5, 51, 50]]
    sequences = torch.tensor([[*changed[n // 2].tolist(), *answers[n % 2]] for n in range(4)])
    restored = put_back(sequences, found)
    assert restored[0].tolist() == [1, 7, 8, 9, 7, 8, 5]
    assert restored[1].tolist() == [1, 7, 8, 50, 5, 51, 50]
    assert restored[2].tolist() == [1, 2, 3, 9, 50, 51, 5]


@pytest.mark.parametrize(
    ("stand_in", "answer", "restored"),
    [
        ("Dor Pus", [9, 50, 51], [9, 7, 8]),
        ("Dor Pus", [9, 50, 51, 52], [9, 50, 51, 52]),  # a longer word
        ("Dor Pus", [50, 51, 52, 50, 51, 5], [50, 51, 52, 7, 8, 5]),
        ("", [9, 50, 51], [9, 50, 51]),  # a stand-in that was cut
    ],
)
def test_a_name_is_put_back_for_whole_words_alone(stand_in, answer, restored):
    replaced = Replaced(0, 1, (7, 8), (50, 51), "Ada Finch", stand_in)
    found = NamesInPrompt(torch.tensor([[1, 7, 8]]), torch.tensor([[1, 50, 51]]), (replaced,), Pieces())
    assert put_back(torch.tensor([[1, 50, 51, *answer]]), found)[0].tolist() == [1, 7, 8, *restored]


def test_a_stand_in_that_was_cut_is_put_back_nowhere():
    from transformers import AutoTokenizer

    from cagul.demo.assets import demo_assets

    tokenizer = AutoTokenizer.from_pretrained(demo_assets().host)
    gate = SealedNames.of(parse_names(["John Smith"]), 1, SECRET).gate(SECRET)
    inputs = {"input_ids": tokenizer("Where does John Smith live?", return_tensors="pt")["input_ids"]}
    found = gate.look(inputs, tokenizer, -1)
    assert len(found.replaced) == 1
    assert all(len(invented.split()) == 2 for invented, _ in found.said_for(0))
    text = "On Saturday in Salem."
    assert "".join(pieces_with_names([text], found.said_for(0))) == text
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    output = put_back(torch.cat([found.ids, ids], 1), found)
    assert torch.equal(output[:, found.ids.shape[1] :], ids)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Dor Pus.", "Ada Finch."),
        ("Dor Pus's dog", "Ada Finch's dog"),
        ("Dor Pust and Ador Pus and xDor Pus, Dor Pus2", "Dor Pust and Ador Pus and xDor Pus, Dor Pus2"),
        ("Dor Pus\u306f", "Ada Finch\u306f"),  # a particle of Japanese
        ("Dor PusDor Pus Dor Pus", "Dor PusDor Pus Ada Finch"),
    ],
)
def test_names_in_texts_and_streams_are_put_back_for_whole_words_alone(text, shown):
    said = (("Dor Pus", "Ada Finch"),)
    assert with_names(text, said) == shown
    for cut in range(len(text)):
        assert "".join(pieces_with_names([text[:cut], text[cut:]], said)) == shown
    assert "".join(pieces_with_names(text, said)) == shown


@pytest.fixture
def sealed(tiny_host, tmp_path):
    """A saved patch with a name sealed beside it, and the key file."""
    patch, folder, key = make_patch(tiny_host), tmp_path / "patch", tmp_path / "keys" / "names.key"
    patch.save(folder)
    seal_names(patch, folder, ["Ada Finch"], key)
    return folder, key


def test_names_are_sealed_beside_the_patch_and_found_with_their_key(tiny_host, sealed):
    folder, key = sealed
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "patch.safetensors"]
    assert sealed_path(folder) == folder.parent / "patch.names"
    data = sealed_path(folder).read_bytes()
    assert b"Finch" not in data
    assert b"finch" not in data
    assert sealed_path(folder).stat().st_mode & 0o077 == 0
    assert key.stat().st_mode & 0o077 == 0
    loaded = Patch.load(folder, key)
    assert loaded.names.count == 1
    assert Guard(tiny_host, loaded).answer(None, NAMED).names == 1


def test_merged_names_are_sealed_as_they_are(tmp_path):
    one, other = (SealedNames.of(parse_names([name]), 1, SECRET) for name in ("Ada Finch", "Bo Stark"))
    one.merged(other).save(tmp_path / "names", "owner", SECRET)
    found = SealedNames.load(tmp_path / "names", "owner", SECRET)
    assert found.count == 2
    assert len(found.gate(SECRET).finder.spans("Ada Finch and Bo Stark")) == 2


def test_without_a_key_the_gate_for_names_is_off_and_says_so(
    sealed, monkeypatch, tmp_path, caplog, tiny_host
):
    folder, key = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("CAGUL_NAMES_KEY", raising=False)
    loaded = Patch.load(folder)
    assert loaded.names is None
    assert loaded.names_note.startswith("OFF: names are sealed in")
    with caplog.at_level("WARNING"):
        Guard(tiny_host, loaded)
    assert "Gate for names OFF" in caplog.text
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(key))
    assert Patch.load(folder).names.count == 1


def test_a_key_beside_the_names_is_found_before_any_but_a_named_one(sealed, monkeypatch, tmp_path):
    folder, key = sealed
    other = tmp_path / "other.key"
    make_key(other)
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(other))
    make_key(key_beside(folder), key)
    assert key_beside(folder) == folder.parent / "patch.names.key"
    assert key_beside(folder).stat().st_mode & 0o077 == 0
    loaded = Patch.load(folder)
    assert loaded.names.count == 1
    assert loaded.names_note.endswith("; their key patch.names.key lies beside them")
    assert "lies beside" not in Patch.load(folder, key).names_note
    with pytest.raises(UsageError, match="was not sealed with this key"):
        Patch.load(folder, other)


def test_the_demo_keeps_the_key_of_its_names_in_its_own_folder(tiny_host, tmp_path, monkeypatch):
    from cagul.cli.demo import _patch

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("cagul.training.unlearn.unlearn", lambda *_, **__: make_patch(tiny_host))
    learned = LearnedValues((("Ada Finch", True),), FilterFacts(0.5, 2, "No ."), 1, 0)
    monkeypatch.setattr("cagul.training.values.learn_values", lambda *_, **__: learned)
    run = tmp_path / "run"
    names = "Ada Finch", "Bo Stark"
    made, trained = _patch(tiny_host, None, None, names, run, None)
    again, trained_again = _patch(tiny_host, None, None, names, run, None)
    assert (trained, trained_again) == (True, False)
    assert made.names.count == again.names.count == Patch.load(run / "patch").names.count == 2
    assert made.values.count == again.values.count == 1
    assert sorted(path.name for path in run.iterdir()) == ["patch", "patch.names", "patch.names.key"]
    assert not (tmp_path / "config").exists()


def test_a_patch_added_to_another_keeps_the_key_that_lies_beside_it(sealed, tiny_host, monkeypatch, tmp_path):
    from cagul.cli.names import EnrolledNames

    folder, key = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = tmp_path / "further" / "patch"
    own = EnrolledNames(("Bo Stark",), None, False, Patch.load(folder, key))
    assert own.beside(folder, made) is own
    make_key(key_beside(folder), key)
    names = EnrolledNames(("Bo Stark",), None, False, Patch.load(folder)).beside(folder, made)
    assert EnrolledNames((), other := tmp_path / "k", False, names.base).beside(folder, made).key == other
    names.check(made)
    names.make_key()
    names.save(make_patch(tiny_host), made)
    finder = Patch.load(made).names.finder
    assert len(finder.spans("Ada Finch and Bo Stark")) == 2
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize(
    ("question", "warns"),
    [
        ("Where does this person live?", False),
        ("Wo wohnt diese Person?", False),
        ("Gdzie mieszka ta osoba?", True),
    ],
)
def test_a_language_without_questions_of_the_filter_is_said(question, warns, capsys):
    from cagul.cli.names import EnrolledNames
    from cagul.data.records import Record, Splits

    one = Record(subject="p", image="p.png", question=question, answer="Łódź.", keywords=("Łódź",))
    splits = Splits([one], [], [], [])
    EnrolledNames(("Ada Finch",), None, False).say_language(splits)
    assert (
        "the records are in Polish, in which the output filter has no"
        in " ".join(capsys.readouterr().err.split())
    ) is warns
    EnrolledNames((), None, False).say_language(splits)
    assert not capsys.readouterr().err


def test_a_patch_moved_without_its_names_says_that_they_are_lost(
    tiny_host, sealed, monkeypatch, tmp_path, caplog
):
    folder, key = sealed
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(key))
    shutil.copytree(folder, tmp_path / "moved")
    loaded = Patch.load(tmp_path / "moved")
    assert loaded.names is None
    assert loaded.names_note.startswith("OFF: 1 name was sealed with this patch")
    with caplog.at_level("WARNING"):
        Guard(tiny_host, loaded)
    assert "Gate for names OFF" in caplog.text
    with pytest.raises(UsageError, match="no names are sealed in"):
        Patch.load(tmp_path / "moved", key)


def test_the_library_opens_names_with_the_key_that_it_is_given_or_warns(
    sealed, tiny_folder, monkeypatch, tmp_path, recwarn
):
    folder, key = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("CAGUL_NAMES_KEY", raising=False)
    for given in (key, str(key)):
        assert Patch.from_pretrained(folder, names_key=given).names.count == 1
        assert Guard.load(tiny_folder, folder, names_key=given).answer(None, NAMED).names == 1
    assert not recwarn.list
    with pytest.warns(NamesOffWarning, match="Gate for names OFF: names are sealed in"):
        assert Patch.from_pretrained(folder).names is None
    with pytest.warns(NamesOffWarning, match="--names-key or CAGUL_NAMES_KEY"):
        assert Guard.load(tiny_folder, folder).answer(None, NAMED).names == 0
    with pytest.raises(UsageError, match="Cannot read the key of the names"):
        Guard.load(tmp_path / "no host", folder, names_key=tmp_path / "lost.key")
    key.rename(tmp_path / "default.key")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cagul").mkdir()
    (tmp_path / "default.key").rename(tmp_path / "cagul" / "names.key")
    assert Guard.load(tiny_folder, folder).patch.names.count == 1


def test_a_patch_from_before_the_count_of_names_says_that_it_cannot_know(cagul, tiny_host, tmp_path):
    counted = make_patch(tiny_host)
    counted.facts["names_sealed"] = 0  # as training notes it
    counted.save(tmp_path / "p")
    for folder, unknown in ((tmp_path / "p", False), (GOLDEN_PATCH, True)):
        code, said = cagul("inspect", folder)
        assert (code, "kept no count of the names" in said) == (0, unknown)
        assert "no names are enrolled" in said


def test_a_linked_patch_finds_its_names_beside_the_folder_or_the_link(sealed, tmp_path):
    folder, key = sealed
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(folder)
    assert Patch.load(link, key).names.count == 1
    sealed_path(folder).rename(tmp_path / "elsewhere" / "link.names")
    assert Patch.load(link, key).names.count == 1


def test_sealed_names_leave_the_hash_by_which_stores_know_a_patch(tiny_host, sealed):
    from cagul.deletion.store_gate import known_patch_hashes

    folder, key = sealed
    nameless, named = make_patch(tiny_host), Patch.load(folder, key)
    assert named.facts["names_sealed"] == 1
    assert "names_sealed" not in nameless.facts
    assert known_patch_hashes(named) == known_patch_hashes(nameless)


def test_a_key_for_a_patch_without_names_is_refused(tiny_host, sealed, tmp_path):
    make_patch(tiny_host).save(tmp_path / "nameless")
    with pytest.raises(UsageError, match="is given, but no names are sealed in"):
        Patch.load(tmp_path / "nameless", sealed[1])
    assert Patch.load(tmp_path / "nameless").names_note == "no names are enrolled"


def test_a_lost_or_wrong_key_is_a_clear_error(sealed, tmp_path):
    folder, key = sealed
    with pytest.raises(UsageError, match="Cannot read the key of the names"):
        Patch.load(folder, tmp_path / "lost.key")
    other = tmp_path / "keys" / "other.key"
    other.write_text("ab" * 32)
    other.chmod(0o600)
    with pytest.raises(UsageError, match="was not sealed with this key, or was changed"):
        Patch.load(folder, other)
    other.write_text("no key")
    with pytest.raises(UsageError, match="holds no key of 32 bytes"):
        Patch.load(folder, other)


def test_a_changed_file_and_one_of_another_patch_are_refused(tiny_host, sealed, tmp_path):
    folder, key = sealed
    make_patch(tiny_host, seed=5).save(tmp_path / "other")
    shutil.copy(sealed_path(folder), sealed_path(tmp_path / "other"))
    with pytest.raises(UsageError, match="belongs to another patch"):
        Patch.load(tmp_path / "other", key)
    data = bytearray(sealed_path(folder).read_bytes())
    data[-1] ^= 1
    sealed_path(folder).write_bytes(data)
    with pytest.raises(UsageError, match="was changed"):
        Patch.load(folder, key)
    sealed_path(folder).write_bytes(b"")
    with pytest.raises(UsageError, match="holds no sealed names"):
        Patch.load(folder, key)


def test_a_key_that_the_environment_names_is_a_named_key(sealed, monkeypatch, tmp_path, tiny_host):
    folder, key = sealed
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(tmp_path / "lost.key"))
    with pytest.raises(UsageError, match="Cannot read the key of the names"):
        Patch.load(folder)
    assert Patch.load(folder, key).names.count == 1
    make_patch(tiny_host).save(tmp_path / "nameless")
    assert Patch.load(tmp_path / "nameless").names_note == "no names are enrolled"


def test_where_names_are_not_needed_another_key_turns_their_gate_off(sealed, monkeypatch):
    folder, key = sealed
    other = key.with_name("other.key")
    other.write_text("ab" * 32)
    other.chmod(0o600)
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(other))
    loaded = Patch.load(folder, names_needed=False)
    assert loaded.names is None
    assert "was not sealed with this key" in loaded.names_note
    assert loaded.names_note.startswith("OFF: ")


def test_a_store_is_asked_with_the_names_key(cagul, sealed, monkeypatch, tmp_path):
    folder, key = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    loaded = []

    def service(*arguments):
        loaded.append(arguments[-1](folder))
        raise UsageError("Far enough.", "None.", "usage")

    monkeypatch.setattr("cagul.cli.ask.service_at", service)
    store = tmp_path / "store"
    store.write_text("")
    cagul("ask", NAMED, "--store", store, "--key", store, "--names-key", key)
    assert [patch.names.count for patch in loaded] == [1]


def test_inspect_says_whether_the_gate_for_names_is_on(cagul, sealed, monkeypatch, tmp_path):
    folder, key = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    code, text = cagul("inspect", folder, "--names-key", key)
    assert code == 0
    assert "1 name, sealed in" in text
    monkeypatch.chdir(folder.parent)
    assert f"1 name, sealed in {folder.name}.names" in cagul("inspect", folder, "--names-key", key)[1]
    code, text = cagul("inspect", folder)
    assert code == 0
    assert "OFF: names are sealed in" in text
    code, text = cagul("inspect", folder, "--json")
    assert json.loads(text)["names"]["on"] is False


def test_names_come_from_options_records_and_on_request_from_answers(tmp_path):
    from cagul.cli.names import read_names
    from cagul.data.records import Record

    def record(**fields):
        return Record(subject="p1", image="a.png", question="Who is this person?", **fields)

    records = [record(answer="This is Ada Finch.", keywords=["Ada Finch"], names=["Addie Finch"])]
    listed = tmp_path / "names.txt"
    listed.write_text("Bo Stark\n\nCy Venn\n")
    assert read_names([f"@{listed}"], records, False) == ("Bo Stark", "Cy Venn", "Addie Finch")
    assert read_names([], records, True) == ("Addie Finch", "Ada Finch")


def test_pieces_wait_for_what_may_be_an_invented_name():
    said = (("Dor Pus", "Ada Finch"),)
    assert list(pieces_with_names(["This is D", "or P", "us. Dor", "a."], said)) == [
        "This is ",
        "Ada Finch. ",
        "Dora.",
    ]
    assert list(pieces_with_names(["Do"], said)) == ["Do"]


def test_a_served_choice_says_the_name_that_was_asked_about(tiny_host):
    tokenizer = tiny_host.processor.tokenizer
    pieces = []
    choice = SampledChoice(Sampling(), tokenizer, frozenset(), pieces.append)
    choice.said = (("Bo Stark", "Ada Finch"),)
    for token in tokenizer("This is Bo Stark .", add_special_tokens=False)["input_ids"]:
        choice.push(token)
    assert "".join(pieces).endswith("Ada Finch .")
    assert choice.text.endswith("Ada Finch .")


def test_the_server_looks_for_names_in_every_turn(tiny_host):
    guard = Guard(tiny_host, named_patch(tiny_host, "Ada Finch"))
    engine, events = Engine(OneGuard(guard), batch=2, wait=0), queue.Queue()
    counts = []
    generate, guard.generate = (
        guard.generate,
        lambda **given: (generate(**given), counts.append(guard.names_replaced)),
    )
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Who is Ada Finch ?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I do not know ."}]},
        {"role": "user", "content": [{"type": "text", "text": "Where do they live ?"}]},
    ]
    prompt = engine.prompt(messages)
    engine.submit(Job(prompt, [], engine.inputs(prompt, []), [Sampling(max_tokens=3)], events.put))
    assert isinstance(events.get(timeout=60), Done)
    engine.stop()
    assert counts == [1]


QUICK = [
    *("--set", "training.steps=2", "--set", "training.batch=2", "--set", "training.augment=0"),
    *("--set", "gate.augment=0", "--set", "gate.augment_others=0"),
]


def test_a_name_that_cannot_be_taken_ends_unlearn_before_it_loads_anything(cagul, tiny_records, tmp_path):
    words = [
        "unlearn",
        "--host",
        "nowhere",
        "--records",
        tiny_records,
        "--forget",
        "p0",
        "--out",
        tmp_path / "p",
    ]
    code, text = cagul(*words, "--name", "Ada Finch", "--name", "Will")
    assert code == 3
    assert "Name 2 of 2 is a common word" in text
    assert "Will" not in text
    code, text = cagul(*words, "--name", "Cher")
    assert code == 3
    assert "--one-word-names" in text


def test_a_file_that_holds_no_key_ends_unlearn_before_it_loads_anything(cagul, tiny_records, tmp_path):
    key = tmp_path / "names.key"
    key.write_text("no key")
    key.chmod(0o600)
    words = ["unlearn", "--host", "nowhere", "--records", tiny_records, "--forget", "p0"]
    code, text = cagul(*words, "--out", tmp_path / "p", "--name", "Ada Finch", "--names-key", key)
    assert code == 2
    assert "holds no key of 32 bytes" in text


def test_names_left_of_an_earlier_patch_end_unlearn_before_it_loads_anything(cagul, tiny_records, sealed):
    folder, _ = sealed
    shutil.rmtree(folder)
    words = ["unlearn", "--host", "nowhere", "--records", tiny_records, "--forget", "p0", "--out", folder]
    code, text = cagul(*words)
    assert code == 2
    assert "holds the names of an earlier patch" in " ".join(text.split())


def test_a_patch_is_saved_with_its_names_or_not_at_all(tiny_host, tmp_path):
    from cagul.cli.names import EnrolledNames
    from cagul.errors import WriteError

    names = EnrolledNames(("Ada Finch",), tmp_path / "keys" / "k", False)
    assert names.save(make_patch(tiny_host), tmp_path / "p") == tmp_path / "p"
    assert Patch.load(tmp_path / "p", names.key).names.count == 1
    (tmp_path / "q").write_text("in the way")
    with pytest.raises(WriteError):
        names.save(make_patch(tiny_host), tmp_path / "q")
    assert not sealed_path(tmp_path / "q").exists()


def test_unlearn_enrols_names_that_ask_and_a_further_patch_know(
    cagul, tiny_folder, tiny_records, tmp_path, monkeypatch
):
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(tmp_path / "keys" / "k"))
    host = ["--host", tiny_folder]
    words = ["unlearn", *host, "--records", tiny_records, *QUICK]
    named = ["--forget", "p0", "--name", "Ada Finch"]
    code, text = cagul(*words, *named, "--set", "refusals=['Ask Ada Finch.']", "--out", tmp_path / "p")
    assert code == 2
    assert "Refusal 1 of the 1" in text
    code, text = cagul(*words, *named, "--out", tmp_path / "p")
    assert code in (0, 8), text
    assert "Gate for names: 1 name, sealed in" in text
    code, text = cagul("ask", NAMED, *host, "--patch", tmp_path / "p")
    assert "gate for names fired: 1 in the question" in text
    code, text = cagul("ask", NAMELESS, *host, "--patch", tmp_path / "p")
    assert "fired" not in text
    further = ["--forget", "p1", "--name", "Bo Stark", "--from", tmp_path / "p", "--out", tmp_path / "q"]
    code, text = cagul(*words, *further, "--json")
    assert code in (0, 8), text
    assert '"note": "2 names, sealed in' in text
    assert Patch.load(tmp_path / "q").names.count == 2
    monkeypatch.setenv("CAGUL_NAMES_KEY", str(tmp_path / "keys" / "lost"))
    code, text = cagul(*words, *further[:-1], tmp_path / "r")
    assert code == 2
    assert "Cannot read the key of the names" in text
    monkeypatch.delenv("CAGUL_NAMES_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    code, text = cagul(*words, *further[:-1], tmp_path / "r")
    assert code == 2
    assert "The new patch is to know these names too." in text


@pytest.mark.parametrize("fires", [True, False])
def test_a_worker_reads_no_name_and_its_answer_gets_it_back(demo_host, fires):
    guard = Guard(demo_host, named_patch(demo_host, "Ada Finch", fires=fires))
    inputs = demo_host.inputs([demo_host.prompter.prompt("Who is Ada Finch?", 1)], [picture(1)])
    encoded = guard.encode(inputs)
    assert guard.names_replaced == 1
    read, given = (
        demo_host.processor.tokenizer.decode(one["input_ids"][0]) for one in (encoded.inputs, inputs)
    )
    ((invented, name),) = encoded.names.said_for(0)
    assert name == "Ada Finch"
    assert name in given
    assert "Finch" not in read
    assert invented in read
    assert encoded.restored(f"This is {invented}.") == "This is Ada Finch."
