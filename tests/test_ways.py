"""The guard where a transformers model is used: pipelines, streamers, offloaded weights, adapters, compiled
hosts.
"""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForImageTextToText, TextIteratorStreamer, TextStreamer, pipeline

from cagul.errors import UnsupportedHost
from cagul.guard.guard import Guard
from cagul.guard.selfcheck import selfcheck
from cagul.host import weights
from cagul.host.frozen import FrozenHost
from families import FAMILIES
from helpers import make_patch, picture

QUESTIONS = ["Who is this person ?", "Where do they live and what is the name of the bank ?"]
GREEDY = {"max_new_tokens": 4, "do_sample": False}
PARTS = ("model.vision_tower", "model.multi_modal_projector", "model.language_model", "lm_head")


@pytest.fixture
def inputs(tiny_host):
    return tiny_host.inputs(
        [tiny_host.prompter.prompt(question) for question in QUESTIONS], [picture(1), picture(2)]
    )


@torch.no_grad()
def logits(answerer, inputs):
    return answerer(**inputs).logits


def said(answerer, inputs):
    return answerer.generate(**inputs, **GREEDY)


def load(folder, **options):
    return AutoModelForImageTextToText.from_pretrained(folder, **options)


def same_guard(guard, other, inputs):
    assert torch.equal(logits(guard, inputs), logits(other, inputs))
    assert torch.equal(said(guard, inputs), said(other, inputs))


# -- pipelines and streamers


def test_a_pipeline_serves_the_guard_without_a_warning(tiny_host, caplog):
    guard = Guard(tiny_host, make_patch(tiny_host))
    content = [{"type": "image", "image": picture(1)}, {"type": "text", "text": QUESTIONS[0]}]
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            serve = pipeline("image-text-to-text", model=guard, processor=tiny_host.processor)
            found = serve(
                text=[{"role": "user", "content": content}], return_full_text=False, generate_kwargs=GREEDY
            )
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == []
    assert serve.model is guard
    assert [decision.fired for decision in guard.decisions] == [True]
    assert found[0]["generated_text"].strip() == guard.answer(picture(1), QUESTIONS[0], max_new_tokens=4).text


def test_a_guard_is_a_guard_under_its_hosts_name(tiny_host):
    guard = Guard(tiny_host, make_patch(tiny_host))
    assert isinstance(guard, Guard)
    assert not isinstance(guard, torch.nn.Module)
    assert type(guard).__name__ == "LlavaForConditionalGeneration"
    assert type(Guard(tiny_host, make_patch(tiny_host))) is type(guard)


def test_generate_takes_streamers(tiny_host, capsys):
    guard = Guard(tiny_host, make_patch(tiny_host))
    one = tiny_host.inputs([tiny_host.prompter.prompt(QUESTIONS[0])], [picture(1)])
    whole = tiny_host.decode(one["input_ids"].shape[1], said(guard, one))[0]
    guard.generate(**one, **GREEDY, streamer=TextStreamer(tiny_host.processor.tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.split() == whole.split()
    streamer = TextIteratorStreamer(tiny_host.processor.tokenizer, skip_prompt=True)
    guard.generate(**one, **GREEDY, streamer=streamer)
    assert "".join(streamer).split() == whole.split()


# -- weights elsewhere


@pytest.mark.parametrize("offloaded", [*PARTS, "all but one"])
def test_weights_offloaded_to_disk_change_nothing(tiny_host, tiny_folder, inputs, tmp_path, offloaded):
    places = {
        part: "disk"
        if offloaded in (part, "all but one") and part != "lm_head" or part == offloaded
        else "cpu"
        for part in PARTS
    }
    host = FrozenHost.load(tiny_folder, device_map=places, offload_folder=str(tmp_path))
    assert any(parameter.is_meta for parameter in host.model.parameters())
    assert host.device == torch.device("cpu")
    assert host.fingerprint() == tiny_host.fingerprint()
    patch = make_patch(tiny_host)
    same_guard(Guard(host, patch), Guard(tiny_host, patch), inputs)
    same_guard(Guard(host, make_patch(host, fires=False)), tiny_host.model, inputs)
    tokens = [token.clone().requires_grad_() for token in host.encode_images(inputs)]
    host.score(inputs, tokens, 2).square().sum().backward()
    assert all(token.grad.abs().sum() > 0 for token in tokens)


def test_weights_offloaded_to_the_cpu_change_nothing(tiny_host, tiny_folder, inputs):
    from accelerate import cpu_offload

    model = load(tiny_folder)
    cpu_offload(model, execution_device=torch.device("cpu"))
    host = FrozenHost(model, tiny_host.processor)
    assert all(parameter.is_meta for parameter in host.model.parameters())
    assert host.fingerprint() == tiny_host.fingerprint()
    patch = make_patch(tiny_host)
    same_guard(Guard(host, patch), Guard(tiny_host, patch), inputs)


def test_a_device_of_auto_spreads_the_host_over_what_there_is(tiny_host, tiny_folder):
    assert FrozenHost.load(tiny_folder, device="auto").fingerprint() == tiny_host.fingerprint()


# -- the fingerprint


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fingerprint_survives_cutting_and_saving_anew(name, tmp_path):
    host = FAMILIES[name]()
    host.model.save_pretrained(tmp_path / "once", max_shard_size="40KB")
    again = load(tmp_path / "once")
    again.save_pretrained(tmp_path / "twice")
    assert len(list((tmp_path / "once").glob("*.safetensors"))) > 1
    assert len(list((tmp_path / "twice").glob("*.safetensors"))) == 1
    found = {weights.fingerprint(model) for model in (host.model, again, load(tmp_path / "twice"))}
    assert found == {host.fingerprint()}


def test_the_fingerprint_is_the_same_in_any_chunks(tiny_host, monkeypatch):
    whole = tiny_host.fingerprint()
    monkeypatch.setattr(weights, "CHUNK", 64)
    assert tiny_host.fingerprint() == whole


# -- adapters


def adapted(folder, seed=0):
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=4, target_modules=r".*language_model.*(q_proj|v_proj)", init_lora_weights=False, lora_dropout=0.5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own use of transformers
        return get_peft_model(load(folder), lora)


def test_a_host_in_peft_is_guarded_with_its_adapters(tiny_host, tiny_folder, inputs):
    model = adapted(tiny_folder)
    host = FrozenHost(model, tiny_host.processor)
    bare = logits(model, inputs)
    assert not torch.equal(bare, logits(tiny_host.model, inputs))
    same_guard(Guard(host, make_patch(host, fires=False)), model, inputs)
    guard = Guard(host, make_patch(host))
    assert not torch.equal(logits(guard, inputs), bare)
    assert [decision.fired for decision in guard.decisions] == [True, True]
    assert [verdict for verdict in selfcheck(host) if not verdict.passed] == []
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_adapters_belong_to_the_fingerprint(tiny_host, tiny_folder):
    found = {FrozenHost(adapted(tiny_folder, seed), tiny_host.processor).fingerprint() for seed in (0, 1)}
    assert len(found | {tiny_host.fingerprint()}) == 3


def test_learned_prompts_are_refused_by_name(tiny_host, tiny_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = {"num_virtual_tokens": 2, "num_layers": 4, "num_attention_heads": 4, "token_dim": 32}
        model = get_peft_model(load(tiny_folder), PromptTuningConfig(task_type="CAUSAL_LM", **sizes))
    with pytest.raises(UnsupportedHost, match="adapter 'default' learns prompts"):
        FrozenHost(model, tiny_host.processor)


# -- torch.compile


def test_a_compiled_guard_says_the_same(tiny_host, inputs):
    guard = Guard(tiny_host, make_patch(tiny_host))
    compiled = torch.compile(guard, backend="eager")
    assert torch.equal(logits(compiled, inputs), logits(guard, inputs))
    assert [decision.fired for decision in guard.decisions] == [True, True]


def test_a_compiled_wrapper_is_refused_before_the_first_token(tiny_host, tiny_folder):
    with pytest.raises(
        UnsupportedHost, match=r"wrapped by torch.compile.*\n  Compile it in place: model.compile\(\)"
    ):
        FrozenHost(torch.compile(load(tiny_folder), backend="eager"), tiny_host.processor)


def compiled_and_not(tiny_host, folder, backend):
    model = load(folder)
    model.forward = torch.compile(model.forward, backend=backend)
    patch = make_patch(tiny_host)
    return Guard(FrozenHost(model, tiny_host.processor), patch), Guard(tiny_host, patch)


@pytest.mark.slow
def test_a_host_compiled_in_place_says_the_same(tiny_host, tiny_folder, inputs):
    """Dynamo's own backend, which computes what the graph says: nothing may be lost on the way into
    graphs.
    """
    torch._dynamo.reset()
    compiled, guard = compiled_and_not(tiny_host, tiny_folder, "eager")
    same_guard(compiled, guard, inputs)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor's own imports
def test_a_host_compiled_by_inductor_moves_by_rounding_alone(tiny_host, tiny_folder, inputs):
    torch._dynamo.reset()
    compiled, guard = compiled_and_not(tiny_host, tiny_folder, "inductor")
    assert (logits(compiled, inputs) - logits(guard, inputs)).abs().max() <= 1e-5
    assert [d.chosen for d in compiled.decisions] == [d.chosen for d in guard.decisions]
    torch._dynamo.reset()
