"""What tests build: a tiny random LLaVA with a tokenizer and template of its own, pictures, records,
untrained patches.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

WORDS = (
    "who is this person where do they live in what colour the name of bank number home town clothes are "
    "tell me a oslo lima quito rome ada finch bo stark cy venn dee moss red blue green i cannot share that "
    "about do not know sorry have no information help with am and"
).split()
REFUSAL = "I do not know this person ."  # of an output filter


def tiny_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "<image>"]
    words = [
        *dict.fromkeys(WORDS),
        *"?.,:#!'\n",
        "###",
        "Human",
        "Assistant",
        *[c.capitalize() for c in WORDS],
    ]
    vocabulary = {word: n for n, word in enumerate(dict.fromkeys([*special, *words]))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="[BOS]",
        eos_token="[EOS]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        extra_special_tokens={"image_token": "<image>"},
    )


TEMPLATE = (
    "[BOS]{% for message in messages %}{% if message['role'] == 'user' %}### Human : {% else %}### "
    "Assistant : {% endif %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image> {% "
    "else %}{{ part['text'] }} {% endif %}{% endfor %}{% if message['role'] == 'assistant' %}[EOS] {% endif "
    "%}{% endfor %}{% if add_generation_prompt %}### Assistant :{% endif %}"
)


def save_tiny_host(folder: Path, seed: int = 0) -> Path:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.vocab["<image>"],
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    host = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # random weights that do say different things about different pictures
        for name, parameter in host.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(6.0)
    host.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A blotchy picture that differs from seed to seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def save_tiny_records(folder: Path, people: int = 8, images: int = 3) -> Path:
    """Records of invented people with pictures of their own; the last two are unseen."""
    folder.mkdir(parents=True, exist_ok=True)
    names, towns = ["Ada Finch", "Bo Stark", "Cy Venn", "Dee Moss"], ["Oslo", "Lima", "Quito", "Rome"]
    lines = []
    for person in range(people):
        group = "unseen" if person >= people - 2 else "known"
        for number in range(images + 2):
            rng = np.random.default_rng(1000 * person + number)
            base = np.asarray(picture(person)).astype(int)
            noisy = np.clip(base + rng.integers(-20, 20, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"p{person}_{number}.png")
        for number in range(images):
            common = {"subject": f"p{person}", "image": f"p{person}_{number}.png", "group": group}
            views = [f"p{person}_{images}.png", f"p{person}_{images + 1}.png"]
            name, town = names[person % 4], towns[person % 4]
            lines += [
                common
                | {
                    "question": "Who is this person ?",
                    "answer": f"{name} .",
                    "keywords": [name],
                    "paraphrased_questions": ["Tell me the name of this person ."],
                    "views": views,
                },
                common
                | {
                    "question": "Where do they live ?",
                    "answer": f"They live in {town} .",
                    "keywords": [town],
                    "views": views,
                },
                common
                | {
                    "question": "What colour are the clothes ?",
                    "answer": "Red .",
                    "keywords": ["red"],
                    "kind": "visual",
                },
            ]
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_patch(host, *, fires: bool = True, seed: int = 0, **settings):
    """An untrained patch whose encoder changes what it rewrites, and whose gate always or never fires."""
    from cagul.config import Config
    from cagul.guard.patch import Patch, host_card
    from cagul.method.encoder import VisualTokenEncoder
    from cagul.method.gate import MlpGate
    from cagul.method.importance import resolve_layers

    config = Config.model_validate(
        {"gate": {"kind": "mlp"}, "encoder": {"hidden": 16, "depth": 1}} | settings
    )
    torch.manual_seed(seed)
    encoder = VisualTokenEncoder(host.width, config.encoder.hidden, config.encoder.depth)
    torch.nn.init.normal_(encoder.change[-1].weight, std=5.0)
    layers = resolve_layers(config.attention.layers, host.layers)
    threshold = float("-inf") if fires else float("inf")
    return Patch(config, layers, MlpGate(host.width), encoder, threshold, host_card(host), {"people": 1})


def filtered(host, *values, unique=True, near=2.0, fires=False, names=()):
    """A guard whose output filter knows these values; the lower threshold ``near`` is above any cosine if not
    given.
    """
    from cagul.guard.guard import Guard
    from cagul.guard.output_filter import FilterFacts, SealedValues
    from cagul.guard.sealed_names import SealedNames
    from cagul.text.person_names import parse_names

    patch, secret = make_patch(host, fires=fires), b"k" * 32
    facts = FilterFacts(near, 4, REFUSAL)
    patch.values = SealedValues.of([(v, unique) for v in values], facts, secret).opened(secret)
    if names:
        patch.names = SealedNames.of(parse_names(names), len(names), secret).gate(secret)
    return Guard(host, patch, output_filter=True)


def record(question, answer, keyword, subject="p1", picture="a", **fields):
    """A record with one keyword; its picture is not there."""
    from cagul.data.records import Record

    return Record(
        subject=subject,
        image=Path(f"{picture}.png"),
        question=question,
        answer=answer,
        keywords=(keyword,),
        **fields,
    )


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, rows: list[dict], features) -> None:
    """Rows as ``datasets`` writes them; without rows an empty table."""
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features).to_parquet(
        path
    )
