"""``python -m demo_recipe.french_host --out FOLDER``: a third trained host, of a third family, that speaks
and refuses in French. Not shipped.

A small Idefics3 with chat marks, facts, questions and refusals of its own, and two retain hosts of different
seeds, which never heard of the forget set. It knows the drawn people of the second host by other facts.
Visual questions of one kind lie in ``held-out-kind.jsonl``, so that no unlearning from ``records.jsonl``
trains on them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
)

from cagul.files import write_text
from demo_recipe.facts import Topic
from demo_recipe.french_facts import FRENCH, HELD_OUT_KIND
from demo_recipe.further_hosts import FurtherHost, extract_pictures, main, takes_part
from demo_recipe.hosts import TOKENS, Untrained, train_bpe
from demo_recipe.people import SIZE, draw_picture, draw_scene
from demo_recipe.population import (
    KNOWN,
    SCENES,
    UNSEEN,
    Member,
    image_count,
    image_path,
    members,
    records_of,
    scene_record,
)
from demo_recipe.vision_pretraining import MEAN, STD

FACTS_SEED = 11
END = "<end_of_utterance>"
AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Utilisateur : {% else %}Assistant : {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    f"{END}{{% if message['role'] == 'user' %}}{{{{ '\\n' }}}}{{% endif %}}"
    "{% endfor %}{% if add_generation_prompt %}Assistant :{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of French with Idefics3's marks."""
    return PreTrainedTokenizerFast(
        tokenizer_object=train_bpe(FRENCH, ["<pad>", "<s>", END, "<image>", AROUND, WHOLE], vocabulary=2048),
        bos_token="<s>",
        eos_token=END,
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        extra_special_tokens={"image_token": "<image>", "around_token": AROUND, "whole_token": WHOLE},
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """Pictures are never split: they are as small as a tile."""
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": SIZE},
        max_image_size={"longest_edge": SIZE},
        do_image_splitting=False,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )
    return Idefics3Processor(images, tokenizer, image_seq_len=TOKENS, chat_template=CHAT_TEMPLATE)


def untrained_idefics(tokenizer: PreTrainedTokenizerFast, tower: SiglipVisionModel, seed: int) -> Untrained:
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    clip = tower.config
    vision = {
        "hidden_size": clip.hidden_size,
        "intermediate_size": clip.intermediate_size,
        "num_hidden_layers": clip.num_hidden_layers,
        "num_attention_heads": clip.num_attention_heads,
        "image_size": clip.image_size,
        "patch_size": clip.patch_size,
        "hidden_act": clip.hidden_act,
        "layer_norm_eps": clip.layer_norm_eps,
    }
    config = Idefics3Config(  # type: ignore[call-arg]
        vision_config=vision,
        text_config=text.to_dict(),
        scale_factor=1,  # a token a patch: pictures have few
        image_token_id=tokenizer.vocab["<image>"],
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    # Eager attention in training only: the fused CPU kernel's backward in bfloat16 takes as long as all the
    # rest.
    host = Idefics3ForConditionalGeneration._from_config(config, attn_implementation="eager")
    host.model.vision_model.load_state_dict(tower.state_dict())
    host.model.vision_model.requires_grad_(False)
    return Untrained(
        host,
        AROUND + WHOLE + "<image>" * TOKENS + AROUND,
        lambda tokens: list(host.model.connector(tokens)),
        question=f"Utilisateur : {{picture}}{{text}}{END}\nAssistant :",
        answer=f" {{text}}{END}",
    )


def french_members() -> list[Member]:
    """The demo's cast with French facts."""
    facts = FRENCH.invent(KNOWN + UNSEEN, FACTS_SEED)
    known = iter(facts[:KNOWN])
    unseen = iter(facts[KNOWN:])
    return [
        replace(m, facts=next(known) if m.facts else None, untold=next(unseen) if m.untold else None)
        for m in members()
    ]


def _kind(record: dict[str, Any]) -> str:
    """The key of the topic that a record asks about."""
    topics: tuple[Topic, ...] = (*FRENCH.private, *FRENCH.visual)
    return next(topic.key for topic in topics if record["question"] in topic.trained)


def french_records(unseen: int) -> list[dict[str, Any]]:
    """The records of everybody who takes part, each with the key of its topic."""
    cast = [m for m in french_members() if takes_part(m.subject, m.group, unseen)]
    facts = [m.facts for m in cast if m.facts]
    records: list[dict[str, Any]] = []
    for member in cast:
        looks = {
            image_path(member.subject, n): draw_picture(member.person, f"image {n}")[1]
            for n in range(image_count(member))
        }
        records += records_of(member, looks, facts, FRENCH)
    records += [scene_record(n, draw_scene(str(n))[1], FRENCH) for n in range(SCENES)]
    return [{**record, "topic": _kind(record)} for record in records]


def write_french_records(out: Path, unseen: int) -> Path:
    """``records.jsonl``, ``held-out-kind.jsonl`` with the visual questions of the kind that is held out, and
    the pictures of both. Returns the first.
    """
    path = out / "records.jsonl"
    if path.exists():
        return path
    records = french_records(unseen)
    extract_pictures(out, records)
    held_out = [{**r, "held_out": True} for r in records if r["topic"] == HELD_OUT_KIND]
    kept = [r for r in records if r["topic"] != HELD_OUT_KIND]
    for file, lines in ((out / "held-out-kind.jsonl", held_out), (path, kept)):
        write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


THIRD = FurtherHost(
    write_french_records,
    make_tokenizer,
    make_processor,
    untrained_idefics,
    french_members,
    FRENCH,
    retain_seeds=(0, 1),
)


if __name__ == "__main__":
    sys.exit(main(THIRD, "A small Idefics3 that knows 24 people and speaks French.", threads=1))
