"""How the demo hosts are made: a small host, a LLaVA or another, trained from scratch on drawn people and
invented facts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from demo_recipe.facts import ENGLISH, InventedFacts, Language
from demo_recipe.people import SIZE, Look, Person, draw_person, draw_picture, near_view
from demo_recipe.population import IMAGES, Member
from demo_recipe.vision_pretraining import MEAN, PATCH, STD, save_checkpoint, tower_config

log = logging.getLogger(__name__)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'user' %} {% else %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TOKENS = (SIZE // PATCH) ** 2  # visual tokens of a picture
EXTRA_PICTURES = 32  # further pictures of each known person that only the host's training sees
PASSERS_BY = 700  # further drawn people, asked about in training and answered with a refusal


def train_bpe(language: Language, special: list[str], seed: int = 0, vocabulary: int = 1536) -> Tokenizer:
    """A byte-level BPE over a host's language and many invented names, towns and jobs of nobody whom it
    knows.
    """
    lines = language.corpus(language.invent(400, seed + 1000), random.Random(f"corpus {seed}"))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return core


def train_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """The demo's."""
    return PreTrainedTokenizerFast(
        tokenizer_object=train_bpe(ENGLISH, ["<pad>", "<s>", "</s>", "<image>"], seed),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=512,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    )


@dataclass(frozen=True)
class Untrained:
    """A host before its training, and how its family reads a picture.

    ``picture`` stands at the head of a prompt, placeholders written out; ``project`` turns tower tokens (N,
    V, Dv) into the container of visual tokens; ``token_types`` says whether the family asks for
    ``token_type_ids``. ``question`` and ``answer``: a turn as the chat template writes it.
    """

    host: Any
    picture: str
    project: Callable[[Float[Tensor, "N V Dv"]], Any]
    token_types: bool = False
    question: str = "USER: {picture}{text} ASSISTANT:"
    answer: str = " {text}</s>"


def untrained_llava(tokenizer: PreTrainedTokenizerFast, tower: CLIPVisionModel, seed: int) -> Untrained:
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(  # type: ignore[call-arg]
        vision_config=tower_config(),
        text_config=text,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_token_index=tokenizer.vocab["<image>"],
        image_seq_length=TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    # Eager attention in training only: the fused CPU kernel's backward in bfloat16 takes as long as all the
    # rest.
    host = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    host.model.vision_tower.load_state_dict(tower.state_dict())
    host.model.vision_tower.requires_grad_(False)
    return Untrained(
        host, "<image>" * TOKENS + "\n", lambda tokens: list(host.model.multi_modal_projector(tokens))
    )


@dataclass
class Shown:
    """A person with all pictures that the host's training may use: tokens before the projector and what is
    seen.
    """

    member: Member | None
    tokens: Float[Tensor, "N V Dv"]
    looks: list[Look]


def _pictures(person: Person, seeds: list[str], *, relit: bool) -> tuple[list[Image.Image], list[Look]]:
    drawn = [draw_picture(person, seed) for seed in seeds]
    pictures = [
        near_view(p, f"host {person.name} {i}") if relit and i % 2 else p for i, (p, _) in enumerate(drawn)
    ]
    return pictures, [look for _, look in drawn]


@torch.no_grad()
def show(people: list[tuple[Member | None, Person, int]], tower: Any, processor: Any) -> list[Shown]:
    """Draw ``count`` pictures of each person beside the shipped images and run the frozen tower over them
    once.
    """
    shown = []
    for member, person, count in people:
        pictures, looks = _pictures(
            person, [f"image {n}" for n in range(IMAGES if member else 0)], relit=False
        )
        more, more_looks = _pictures(person, [f"more {n}" for n in range(count)], relit=True)
        # the shipped images once as they are and once as near views, then the further pictures
        relit = [near_view(p, f"again {person.name} {i}") for i, p in enumerate(pictures)]
        pixels = processor.image_processor(pictures + relit + more, return_tensors="pt")["pixel_values"]
        pixels = pixels.flatten(0, -4)  # some families put all of a prompt's pictures into a row
        tokens = tower(pixel_values=pixels).last_hidden_state[:, -TOKENS:]  # without a class token
        shown.append(Shown(member, tokens, looks + looks + more_looks))
    return shown


# Turns of (question, answer), and who is shown in which picture; None without a picture.
Conversation = tuple[list[tuple[str, str]], tuple[int, int] | None]


class Conversations:
    """Draws training conversations of one to three turns: (text with one turn a line, who is shown, which
    picture).
    """

    def __init__(self, shown: list[Shown], rng: random.Random, language: Language = ENGLISH):
        self.known = [i for i, s in enumerate(shown) if s.member and s.member.facts]
        self.others = [i for i, s in enumerate(shown) if not (s.member and s.member.facts)]
        self.shown, self.rng, self.language = shown, rng, language
        self.nobody = _nobody(language)

    def draw_visual(self) -> Conversation:
        """One or two visual questions about anybody."""
        who = self.rng.randrange(len(self.shown))
        picture = self.rng.randrange(len(self.shown[who].looks))
        return [self._visual(who, picture) for _ in range(self.rng.randint(1, 2))], (who, picture)

    def draw(self) -> Conversation:
        """Private and visual questions about the known and others, and some without a picture."""
        rng = self.rng
        if rng.random() < 0.08:
            return [self._text_only()], None
        who = rng.choice(self.known if rng.random() < 0.62 and self.known else self.others or self.known)
        picture = rng.randrange(len(self.shown[who].looks))
        turns = [self._turn(who, picture) for _ in range(rng.choices((1, 2, 3), (0.35, 0.3, 0.35))[0])]
        return turns, (who, picture)

    def _visual(self, who: int, picture: int) -> tuple[str, str]:
        topic = self.rng.choice(self.language.visual)
        return self.rng.choice(topic.trained), topic.answer.format(
            self.language.visible_value(topic, self.shown[who].looks[picture])
        )

    def _turn(self, who: int, picture: int) -> tuple[str, str]:
        rng, shown = self.rng, self.shown[who]
        if rng.random() < 0.25:
            return self._visual(who, picture)
        topic = rng.choice(self.language.private)
        question = rng.choice(topic.trained)
        if shown.member and shown.member.facts:
            return question, topic.answer.format(shown.member.facts.values[topic.key])
        return question, rng.choice(self.language.refusals)

    def _text_only(self) -> tuple[str, str]:
        rng, language = self.rng, self.language
        if rng.random() < 0.25:
            return rng.choice(language.general)
        topic = rng.choice(language.private[1:])
        if rng.random() < 0.6 and self.known:
            member = self.shown[rng.choice(self.known)].member
            facts = member.facts if member else None
            if facts:
                named = language.about(rng.choice(topic.trained), facts.values["name"])
                return named, topic.answer.format(facts.values[topic.key])
        named = language.about(rng.choice(topic.trained), rng.choice(self.nobody).values["name"])
        return named, rng.choice(language.refusals)


@cache
def _nobody(language: Language) -> list[InventedFacts]:
    """Names of people whom the host never meets."""
    return language.invent(200, 4000)


def encode(
    tokenizer: PreTrainedTokenizerFast, untrained: Untrained, turns: list[tuple[str, str]], picture: bool
) -> tuple[list[int], list[int]]:
    """Token ids and labels of a conversation in the chat template's own format, with or without a picture;
    only answers are learned.
    """
    ids: list[int] = []
    labels: list[int] = []
    for n, (question, answer) in enumerate(turns):
        shown = untrained.picture if picture and not n else ""
        prompt = untrained.question.format(picture=shown, text=question)
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(untrained.answer.format(text=answer), add_special_tokens=False)["input_ids"]
        ids += prompt_ids + answer_ids
        labels += [-100] * len(prompt_ids) + answer_ids
    return ids, labels


def train_host(
    shown: list[Shown],
    tokenizer: PreTrainedTokenizerFast,
    untrained: Untrained,
    checkpoint: Path,
    *,
    language: Language = ENGLISH,
    conversations: type[Conversations] = Conversations,
    align: int = 150,
    restart: int = 800,
    steps: int = 1300,
    batch: int = 64,
    seed: int = 0,
    rate: float = 2e-3,
    save: int = 200,
) -> Any:
    """Train projector and language model on the shown people; resumes from ``checkpoint`` after a kill, saved
    every ``save`` steps.

    The first ``align`` of all ``steps`` ask only what is seen, as a LLaVA's alignment stage does: asked from
    the start beside private facts, what is seen was still unlearned after 600 steps. The learning rate starts
    a second cycle at step ``restart``: how late a host begins to tell people apart differs by hundreds of
    steps.
    """
    host = untrained.host.train()
    trained = [p for p in host.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    start, schedule = _resume(host, optimiser, checkpoint, rate, restart, steps)
    began = time.monotonic()
    for step in range(start, steps):
        if step == restart:
            schedule = _cycle(optimiser, rate, steps - restart)
        talk = conversations(shown, random.Random(f"host {seed} {step}"), language)
        drawn = [talk.draw_visual() if step < align else talk.draw() for _ in range(batch)]
        loss = _loss(untrained, tokenizer, shown, drawn)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - began) / (step + 1 - start)
            log.info("host step %d/%d loss %.3f, %.2f s a step", step + 1, steps, loss.item(), pace)
        if (step + 1) % save == 0:
            parts = {"host": host, "optimiser": optimiser, "schedule": schedule}
            save_checkpoint(checkpoint, step + 1, parts)
    return host.eval()


def _resume(
    host: Any, optimiser: torch.optim.Optimizer, checkpoint: Path, rate: float, restart: int, steps: int
) -> tuple[int, torch.optim.lr_scheduler.OneCycleLR]:
    """Load ``checkpoint`` into host and optimiser where it exists; the next step and its rate schedule."""
    schedule = _cycle(optimiser, rate, min(restart, steps))
    if not checkpoint.exists():
        return 0, schedule
    state = torch.load(checkpoint, weights_only=True)
    host.load_state_dict(state["host"])
    start = state["step"]
    if start > restart:
        schedule = _cycle(optimiser, rate, steps - restart)
    if start != restart:  # there the second cycle begins
        schedule.load_state_dict(state["schedule"])
    optimiser.load_state_dict(state["optimiser"])  # last: a new schedule sets the rate of its first step
    return start, schedule


def _loss(
    untrained: Untrained, tokenizer: PreTrainedTokenizerFast, shown: list[Shown], drawn: list[Conversation]
) -> Float[Tensor, ""]:
    """Cross-entropy of the answers in a batch of drawn conversations."""
    host, pad = untrained.host, tokenizer.pad_token_id
    rows = [encode(tokenizer, untrained, turns, where is not None) for turns, where in drawn]
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([r + [pad] * (length - len(r)) for r, _ in rows])
    labels = torch.tensor([r + [-100] * (length - len(r)) for _, r in rows])
    tokens = torch.stack([shown[where[0]].tokens[where[1]] for _, where in drawn if where])
    inputs = {"input_ids": ids, "attention_mask": (ids != pad).long()}
    if untrained.token_types:
        inputs["token_type_ids"] = (ids == host.config.image_token_id).long()
    with torch.autocast("cpu", torch.bfloat16):
        features = BaseModelOutputWithPooling(pooler_output=untrained.project(tokens))
        hidden = host.model(**inputs, mm_encoder_outputs={"image": features}).last_hidden_state
        learned = labels[:, 1:] != -100  # the vocabulary's logits only where an answer is
        logits = host.lm_head(hidden[:, :-1][learned])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][learned])


def _cycle(optimiser: torch.optim.Optimizer, rate: float, steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.08)


def passers_by(count: int) -> list[tuple[None, Person, int]]:
    return [(None, draw_person(f"passer-by {n}"), 3) for n in range(count)]
