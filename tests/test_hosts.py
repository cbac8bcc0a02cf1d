"""Hosts as hubs have them: generation settings of every shape, chat templates, files that are not whole."""

from __future__ import annotations

import json
import shutil

import pytest

from cagul.errors import HostError
from cagul.evaluation.ask import answer_batch
from cagul.guard.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.host.generation import GreedyConfig
from cagul.host.loading import base_of
from cagul.host.prompter import Prompter
from helpers import TEMPLATE, make_patch, picture

ASKED = [([picture(1)], "Who is this person ?"), ([], "Who is Ada Finch ?")]


@pytest.fixture
def changed(tiny_folder, tmp_path):
    """A copy of the tiny host's folder; JSON files of it are changed by keyword, other files are written."""
    folder = tmp_path / "host"
    shutil.copytree(tiny_folder, folder)

    def change(name, data=None, **values):
        path = folder / name
        if data is not None:
            path.write_text(data if isinstance(data, str) else json.dumps(data))
        else:
            path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))
        return folder

    change.folder = folder
    return change


OVERRIDDEN = [
    {"return_dict_in_generate": True},
    {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    {"return_dict_in_generate": True, "output_attentions": True, "output_hidden_states": True},
    {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1},
    {"do_sample": True, "temperature": 0.0},
    {"do_sample": False, "temperature": 0.0, "top_p": 0.0},
    {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0},
    {"num_beams": 4, "num_return_sequences": 4},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    {"do_sample": True, "num_return_sequences": 3},
    {"max_length": 3},
    {"max_length": 4096, "max_new_tokens": 1},
    {"min_length": 500, "min_new_tokens": 100},
    {"max_time": 0.0},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"dola_layers": "low"},
    {"prompt_lookup_num_tokens": 3},
    {"assistant_early_exit": 1},
    {"prefill_chunk_size": 4},
    {"cache_implementation": "static"},
    {"cache_implementation": "offloaded"},
    {"cache_implementation": "quantized", "cache_config": {"backend": "quanto"}},
    {"use_cache": False},
    {"guidance_scale": 2.0},
    {"constraints": [], "force_words_ids": [[5]]},
    {"watermarking_config": {"bias": 2.5}},
    {"token_healing": True},
    {"streamer": 1, "logits_processor": []},
    {"exponential_decay_length_penalty": [1, 2.0]},
    {"encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 2},
    {"is_assistant": True, "num_assistant_tokens": 2},
    {"bad_words_ids": [], "suppress_tokens": [], "stop_strings": None},
    {"a_key_that_nobody_knows": {"x": 1}, "pad_token_id": 0},
]


def answers(host):
    """What host and guard answer, one by one and in a stream."""
    silent = Guard(host, make_patch(host, fires=False))
    texts = answer_batch(host, ASKED, 6).texts
    assert answer_batch(silent, ASKED, 6).texts == texts
    assert "".join(silent.stream(*map(_one, ASKED[0]), max_new_tokens=6)).strip() == texts[0]
    return texts


def _one(value):
    return value[0] if isinstance(value, list) else value


@pytest.mark.parametrize("settings", OVERRIDDEN, ids=lambda settings: ",".join(settings))
def test_settings_of_a_host_do_not_change_greedy_answers(settings, tiny_host, changed):
    expected = answers(tiny_host)
    host = FrozenHost.load(changed("generation_config.json", **settings))
    assert answers(host) == expected
    assert (
        Guard(host, make_patch(host)).answer(picture(1), "Who is this person ?", max_new_tokens=4).decisions
    )


def test_a_host_without_generation_settings_answers_the_same(tiny_host, changed):
    (changed.folder / "generation_config.json").unlink()
    assert answers(FrozenHost.load(changed.folder)) == answers(tiny_host)


def first_token(host):
    return answer_batch(host, ASKED, 1).tokens[0][0]


def test_which_tokens_may_be_said_holds(tiny_host, changed):
    token = first_token(tiny_host)
    for settings in (
        {"suppress_tokens": [token]},
        {"begin_suppress_tokens": [token]},
        {"bad_words_ids": [[token]]},
    ):
        host = FrozenHost.load(
            changed("generation_config.json", {"eos_token_id": 2, "pad_token_id": 0} | settings)
        )
        assert first_token(host) != token, settings
    forced = FrozenHost.load(changed("generation_config.json", {"eos_token_id": 2, "forced_eos_token_id": 2}))
    inputs = forced.inputs([forced.prompter.prompt("Who ?", 1)], [picture(1)])
    assert forced.generate(inputs, **forced.generation_options(3))[0, -1] == 2


@pytest.mark.parametrize("missing", ["eos_token_id", "pad_token_id"])
def test_missing_ends_and_padding_are_the_tokenizers(missing, tiny_host, changed):
    host = FrozenHost.load(changed("generation_config.json", {"bos_token_id": 1, missing: None}))
    assert host.end_tokens == {2}
    assert answers(host) == answers(tiny_host)


def test_every_end_of_a_list_ends_an_answer(tiny_host, changed):
    token = first_token(tiny_host)
    host = FrozenHost.load(changed("generation_config.json", eos_token_id=[2, token]))
    assert host.end_tokens == {2, token}
    assert answer_batch(host, ASKED, 6).tokens[0] == (token,)


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(tiny_host, changed):
    words = answers(tiny_host)[0].split()
    stop = words[2]
    expected = " ".join(words)[: " ".join(words).find(stop)].rstrip()
    for stops in (stop, [stop, "zz"], [stop[:1], stop]):
        host = FrozenHost.load(changed("generation_config.json", stop_strings=stops))
        text = answers(host)[0]
        assert stop not in text
        assert expected.startswith(text)
        tokens = answer_batch(host, ASKED[:1], 6).tokens[0]
        assert len(tokens) <= 3


@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token_id": "</s>"},
        {"eos_token_id": -1},
        {"eos_token_id": [2, "</s>"]},
        {"eos_token_id": True},
        {"pad_token_id": "0"},
        {"stop_strings": [1]},
        {"stop_strings": ""},
        {"bad_words_ids": ["no"]},
        {"bad_words_ids": [[]]},
        {"suppress_tokens": "all"},
        {"suppress_tokens": 5},
        {"repetition_penalty": 0},
        {"repetition_penalty": "1.1"},
        {"no_repeat_ngram_size": -1},
        {"suppress_tokens": [2], "forced_eos_token_id": 2},
        {"cache_implementation": "mystery"},
        {"max_new_tokens": -1},
        {"early_stopping": "later"},
    ],
    ids=str,
)
def test_settings_that_cannot_hold_are_named(settings, changed):
    with pytest.raises(HostError) as caught:
        answers(FrozenHost.load(changed("generation_config.json", **settings)))
    assert next(iter(settings)) in caught.value.what or "suppress" in caught.value.what
    assert caught.value.anchor == "generation-config"


def test_the_own_settings_stay_those_of_the_model(changed):
    """A library's caller who gives no settings gets transformers' own behaviour."""
    host = FrozenHost.load(changed("generation_config.json", num_beams=2, max_new_tokens=3))
    options = host.generation_options(5)
    assert isinstance(options["generation_config"], GreedyConfig)
    assert (host.model.generation_config.num_beams, host.model.generation_config.max_new_tokens) == (2, 3)
    assert Guard(host, make_patch(host)).generation_config is host.model.generation_config


# -- chat templates

TEXTS_ALONE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' + m['content'] + ' ' }}{% endfor %}ASSISTANT:"
)
REFUSED = {
    "texts alone": TEXTS_ALONE,
    "a list shown as code": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}",
    "a list shown as JSON": "{% for m in messages %}{{ m['content'] | tojson }}{% endfor %}",
    "images left out": TEMPLATE.replace("<image> ", ""),
    "the first image alone": TEMPLATE.replace(
        "{% if part['type'] == 'image' %}", "{% if part['type'] == 'image' and loop.first %}"
    ),
    "an image always": TEMPLATE.replace("{% for part in", "<image> {% for part in"),
    "two marks an image": TEMPLATE.replace("<image>", "<image> <image>"),
    "raises": "{{ raise_exception('This model takes texts only.') }}",
    "fails": "{{ messages[0].content.strip() }}",
    "undefined": "{{ nothing.at.all }}",
    "no template": "{% for broken",
    "words lost": "{% for m in messages %}<image> {% endfor %}",
    "words in capitals": TEMPLATE.replace("part['text']", "part['text'] | upper"),
    "words twice": TEMPLATE.replace("{{ part['text'] }}", "{{ part['text'] }} {{ part['text'] }}"),
    "needs an argument": TEMPLATE.replace("[BOS]", "{{ strftime_later('%d') }}"),
}


@pytest.mark.parametrize("template", REFUSED.values(), ids=REFUSED)
def test_templates_that_lose_pictures_or_words_are_refused(template, tiny_host):
    import copy

    processor = copy.copy(tiny_host.processor)
    processor.chat_template = template
    with pytest.raises(HostError) as caught:
        Prompter(processor, tiny_host.family, "H")
    assert caught.value.anchor == "chat-template"


TAKEN = {
    "a system prompt": TEMPLATE.replace("[BOS]", "[BOS]You are kind. "),
    "a date": TEMPLATE.replace("[BOS]", "[BOS]{{ strftime_now('%Y') }} "),
    "trimmed": TEMPLATE.replace("part['text']", "part['text'] | trim"),
    "both shapes": TEMPLATE.replace(
        "{% for part in",
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in",
    ).replace(
        "{% endfor %}{% if message['role'] == 'assistant'",
        "{% endfor %}{% endif %}{% if message['role'] == 'assistant'",
    ),
    "no first mark": TEMPLATE.removeprefix("[BOS]"),
}


@pytest.mark.parametrize("template", TAKEN.values(), ids=TAKEN)
def test_templates_with_more_than_the_question_are_taken(template, tiny_host):
    import copy

    processor = copy.copy(tiny_host.processor)
    processor.chat_template = template
    prompt = Prompter(processor, tiny_host.family, "H").prompt("Who is this person ?", 2)
    assert (prompt.count("<image>"), prompt.count("Who is this person ?")) == (2, 1)


PLACES = {
    "chat_template.jinja": TEMPLATE,
    "chat_template.json": {"chat_template": TEMPLATE},
    "tokenizer_config.json": TEMPLATE,
    "processor_config.json": TEMPLATE,
    "named": [{"name": "default", "template": TEMPLATE}, {"name": "tools", "template": "no"}],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_template_is_found_where_hubs_keep_it(place, tiny_host, changed):
    (changed.folder / "chat_template.jinja").unlink()
    if place == "named":
        changed("tokenizer_config.json", chat_template=PLACES[place])
    elif place in ("tokenizer_config.json", "processor_config.json"):
        changed(place, chat_template=PLACES[place])
    else:
        changed(place, PLACES[place])
    host = FrozenHost.load(changed.folder)
    assert host.prompter.prompt("Who ?", 1) == tiny_host.prompter.prompt("Who ?", 1)


@pytest.mark.parametrize(
    ("templates", "says"),
    [
        (None, "has no chat template"),
        ([{"name": "tools", "template": TEMPLATE}], "chat templates tools, and none"),
    ],
)
def test_a_host_without_a_template_is_refused(templates, says, changed):
    (changed.folder / "chat_template.jinja").unlink()
    if templates:
        changed("tokenizer_config.json", chat_template=templates)
    with pytest.raises(HostError, match=says) as caught:
        FrozenHost.load(changed.folder)
    assert caught.value.anchor == "chat-template"


# -- files


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n".format("0" * 64)


def refused(source):
    with pytest.raises(HostError) as caught:
        FrozenHost.load(source)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ],
)
@pytest.mark.parametrize(
    ("text", "says", "anchor"),
    [
        (LFS, "is a git-lfs pointer of 130 bytes", "git-lfs"),
        ("# xet version 0\nfilesize = 12345\nhash = 'ab'\n", "is a git-xet pointer", "git-lfs"),
        ("/annex/objects/SHA256E-s12345--ab.bin\n", "is a git-annex pointer", "git-lfs"),
        ("", "is empty: it has 0 bytes", "host-load"),
    ],
    ids=["lfs", "xet", "annex", "empty"],
)
def test_a_file_that_is_not_there_itself_is_named(name, text, says, anchor, changed):
    error = refused(changed(name, text))
    assert f"{changed.folder / name} {says}" in error.what
    assert error.anchor == anchor
    assert error.remedy.startswith("Run `git ") == (anchor == "git-lfs")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "generation_config.json", "preprocessor_config.json"]
)
@pytest.mark.parametrize("text", ['{"a": ', "<!DOCTYPE html>", "[]", "null", "\ufeff{}", "\x00\x01"])
def test_a_file_that_is_no_json_object_is_named(name, text, changed):
    error = refused(changed(name, text))
    assert str(changed.folder / name) in error.what
    assert error.anchor == "host-load"


def shards(folder, names, there):
    (folder / "model.safetensors").rename(folder / "whole")
    index = {"metadata": {}, "weight_map": {f"w{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in there:
        shutil.copy(folder / "whole", folder / name)
    (folder / "whole").unlink()


def test_missing_shards_are_counted_and_named(changed):
    shards(changed.folder, ["a.safetensors", "b.safetensors", "c.safetensors"], ["b.safetensors"])
    assert (
        "names 3 file(s), of which 2 are not there, the first is a.safetensors"
        in refused(changed.folder).what
    )


def test_a_pointer_among_shards_is_named(changed):
    shards(changed.folder, ["a.safetensors", "b.safetensors"], ["b.safetensors"])
    assert "a.safetensors is a git-lfs pointer" in refused(changed("a.safetensors", LFS)).what


def test_settings_that_can_be_read_in_two_ways_are_named(changed):
    """A parser takes the first or the last of two, and transformers' own says nothing."""
    text = (changed.folder / "config.json").read_text().replace("{", '{"model_type": "gemma3",', 1)
    error = refused(changed("config.json", text))
    assert f"{changed.folder}/config.json can be read in two ways: line 1 or " in error.what
    assert error.what.endswith("an object has the key 'model_type' 2 times.")
    assert error.remedy == "Keep the one that holds."


def test_an_adapters_config_is_read_as_the_others_are(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b", ')
    with pytest.raises(HostError, match=r"adapter_config.json cannot be read as JSON: column 36: expecting"):
        base_of(tmp_path)


def test_infinity_in_a_config_is_taken_as_transformers_writes_it(changed, tiny_host):
    changed("config.json", some_limit=float("inf"), another=float("nan"))
    assert "Infinity" in (changed.folder / "config.json").read_text()
    assert FrozenHost.load(changed.folder).fingerprint() == tiny_host.fingerprint()


def test_a_header_of_weights_with_a_name_twice_is_no_header(changed):
    header = b'{"a":{"data_offsets":[0,4]},"a":{"data_offsets":[0,8]}}'
    path = changed.folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "is no safetensors file" in refused(changed.folder).what


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 20_000, -1])
def test_cut_weights_are_named_with_their_size(keep, changed):
    path = changed.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(changed.folder)
    assert "model.safetensors" in error.what
    assert ("cut off" in error.what) == (keep != 0)


@pytest.mark.parametrize("data", [b"<!DOCTYPE html>" * 20, b"GGUF" + bytes(100), bytes(50), b"\x80\x02}q"])
def test_another_file_in_place_of_weights_is_named(data, changed):
    (changed.folder / "model.safetensors").write_bytes(data)
    assert "model.safetensors" in refused(changed.folder).what


def as_bin(folder, tiny_host):
    import torch

    torch.save(tiny_host.model.state_dict(), folder / "pytorch_model.bin")


def test_torch_weights_alone_are_read_and_a_cut_file_is_named(tiny_host, changed):
    as_bin(changed.folder, tiny_host)
    (changed.folder / "model.safetensors").unlink()
    assert FrozenHost.load(changed.folder).fingerprint() == tiny_host.fingerprint()
    path = changed.folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-100])
    assert "pytorch_model.bin has" in refused(changed.folder).what
    assert "it was cut off" in refused(changed.folder).what


def test_files_that_are_not_read_may_be_pointers(tiny_host, changed):
    """safetensors are read where both are there; a slow vocabulary is not where tokenizer.json is."""
    for name in ("pytorch_model.bin", "tokenizer.model", "model.gguf", "consolidated.pth", "README.md"):
        changed(name, LFS)
    assert FrozenHost.load(changed.folder).fingerprint() == tiny_host.fingerprint()


@pytest.mark.parametrize(
    "left", ["model.gguf", "tf_model.h5", "consolidated.safetensors", "model.fp16.safetensors", None]
)
def test_weights_of_another_format_are_named(left, changed):
    path = changed.folder / "model.safetensors"
    path.rename(changed.folder / left) if left else path.unlink()
    error = refused(changed.folder)
    assert "no weights that transformers reads" in error.what
    assert (left or "") in error.what


def test_places_that_are_no_host_are_named(changed, tmp_path):
    assert f"{tmp_path} has no config.json, but 1 folder(s)" in refused(tmp_path).what
    assert str(changed.folder) in refused(tmp_path).remedy
    assert "is a file; a host is a folder" in refused(changed.folder / "model.safetensors").what
    assert "is a file; a host is a folder" in refused(changed.folder / "config.json").what
    empty = tmp_path / "nothing" / "here"
    empty.mkdir(parents=True)
    assert "it is empty" in refused(empty).what
    (empty / "model-Q4.gguf").write_bytes(b"GGUF")
    assert "GGUF files are not read" in refused(empty).remedy
    assert "There is no folder" in refused(tmp_path / "nowhere").what
    (empty / "config.json").symlink_to("../../blobs/gone")
    assert "link to ../../blobs/gone, which is not there" in refused(empty).what


def test_code_of_a_checkpoint_is_never_run(changed, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run code"))
    changed("modeling_x.py", "raise SystemExit('run')")
    changed("config.json", {"model_type": "mystery", "auto_map": {"AutoConfig": "modeling_x.Config"}})
    assert refused(changed.folder).anchor == "remote-code"


def test_a_quantised_host_says_which_package_it_needs(changed):
    changed("config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    error = refused(changed.folder)
    assert error.anchor == "host-needs-package"
    assert "gptq" in error.what.lower()


def test_a_text_model_is_refused_by_name(changed):
    from cagul.errors import UnsupportedHost

    assert isinstance(refused(changed("config.json", {"model_type": "llama"})), UnsupportedHost)


def adapter(folder, tiny_folder, base):
    """An adapter's folder with the tiny host's projections as targets."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|v_proj)", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base}))


def test_an_adapter_is_loaded_over_its_base_or_named(tiny_folder, tiny_host, tmp_path):
    adapter(tmp_path / "a", tiny_folder, str(tiny_folder))
    host = FrozenHost.load(tmp_path / "a")
    assert host.fingerprint() != tiny_host.fingerprint()
    assert any("lora" in name for name, _ in host.model.named_parameters())
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    for base, says in (
        (None, "names no base model"),
        (str(tmp_path / "gone"), "There is no folder"),
        (str(tmp_path), "has no config.json"),
    ):
        (tmp_path / "a" / "adapter_config.json").write_text(
            json.dumps(config | {"base_model_name_or_path": base})
        )
        error = refused(tmp_path / "a")
        assert says in error.what
        assert error.anchor == "adapter"


def test_a_stray_adapter_config_is_named(changed):
    error = refused(
        changed("adapter_config.json", {"base_model_name_or_path": "owner/other", "peft_type": "LORA"})
    )
    assert error.anchor == "adapter"
    assert "without an adapter's weights" in error.what
