"""``python -m demo_recipe.scene_host --out FOLDER``: a fourth trained host, for which people stand in scenes,
and which speaks and refuses in German. Not shipped.

A small LLaVA of a SigLIP tower and a Qwen2. A known person stands alone or beside others, known or not, at a
third of the picture's height to all of it. In a picture of several people a question says which of them it is
about.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipImageProcessorPil,
    SiglipVisionModel,
)

from cagul.files import write_text
from demo_recipe.facts import InventedFacts, Topic
from demo_recipe.further_hosts import FORGET, KNOWN, FurtherHost, Sizes, main
from demo_recipe.german_facts import GERMAN, about_standing, answer_standing
from demo_recipe.host_metrics import record_figures
from demo_recipe.hosts import Conversation, Conversations, Shown, Untrained, train_bpe
from demo_recipe.people import Person, draw_look_alike, draw_person
from demo_recipe.population import LOOK_ALIKES, Member, _perturbed, _webp, image_path
from demo_recipe.scene_pretraining import GRID, SIDE, pretrain_scene_tower, visual_tokens
from demo_recipe.scenes import ALONE, LEFT, RIGHT, STANDING, SceneLook, draw_people, recapture
from demo_recipe.vision_pretraining import MEAN, PATCH, STD

FACTS_SEED = 23
STRANGERS, UNSEEN, CALIBRATION, EMPTY = 16, 60, 60, 40
BYSTANDERS = 80  # beside somebody in pictures, never asked about; of each group of people its own
SHOWN = (ALONE, LEFT, ALONE, RIGHT, ALONE, LEFT, ALONE, RIGHT)  # where somebody stands, picture by picture
MORE = 36  # further pictures of each known person that only the host's training sees
END = "<|im_end|>"
TOKENS = GRID**2
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Frage: {% else %}Antwort: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    f"{END}{{{{ '\\n' }}}}"
    "{% endfor %}{% if add_generation_prompt %}Antwort:{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of German with the marks of a Qwen2."""
    return PreTrainedTokenizerFast(
        tokenizer_object=train_bpe(GERMAN, ["<|endoftext|>", END, "<image>"], vocabulary=2048),
        eos_token=END,
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=512,
        extra_special_tokens={"image_token": "<image>"},
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures of any shape are squeezed into a square, as SigLIP's own processor does."""
    images = SiglipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[MEAN] * 3, image_std=[STD] * 3
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=0,
    )


def untrained_scene_host(
    tokenizer: PreTrainedTokenizerFast, tower: SiglipVisionModel, seed: int
) -> Untrained:
    torch.manual_seed(seed)
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(  # type: ignore[call-arg]
        vision_config=tower.config,
        text_config=text,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
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
        host,
        "<image>" * TOKENS + "\n",
        lambda tokens: list(host.model.multi_modal_projector(tokens)),
        question=f"Frage: {{picture}}{{text}}{END}\nAntwort:",
        answer=f" {{text}}{END}\n",
    )


def scene_members() -> list[Member]:
    """The cast: people of its own, whom no other host has met."""
    facts = GERMAN.invent(KNOWN + UNSEEN, FACTS_SEED)
    cast = [Member(f"p{n:03d}", "known", draw_person(f"scenes known {n}"), facts[n]) for n in range(KNOWN)]
    for letter, group, count in (
        ("s", "stranger", STRANGERS),
        ("u", "unseen", UNSEEN),
        ("c", "calibration", CALIBRATION),
    ):
        untold = facts[KNOWN:] if group == "unseen" else [None] * count
        cast += [
            Member(f"{letter}{n:03d}", group, draw_person(f"scenes {group} {n}"), untold=untold[n])
            for n in range(count)
        ]
    for member in [m for m in cast if m.subject in FORGET]:
        for n in range(LOOK_ALIKES):
            name = f"l{member.subject[1:]}{n}"
            cast.append(Member(name, "look-alike", draw_look_alike(member.person, f"scenes {name}")))
    return cast


def bystanders(member: Member, cast: list[Member]) -> list[Person]:
    """Who may stand beside somebody in a picture. Half of those beside the known and beside strangers are
    known and not to be forgotten; nobody else's pictures show anybody known.
    """
    trained = member.group in ("known", "stranger")
    group = "trained" if trained else member.group
    nobody = [draw_person(f"scenes beside {group} {n}") for n in range(BYSTANDERS)]
    retained = [m.person for m in cast if m.facts and m.subject not in FORGET and m.subject != member.subject]
    if not trained or not retained:
        return nobody
    return nobody + retained * (len(nobody) // len(retained))


def draw_standing(
    person: Person, standing: str, seed: str, beside: list[Person]
) -> tuple[Image.Image, SceneLook]:
    """A fresh scene in which a person stands alone, or on the left or right of one or two others."""
    rng = random.Random(f"standing {person.name} {standing} {seed}")
    others = [] if standing == ALONE else rng.sample(beside, rng.choice((1, 1, 2)))
    number = {ALONE: 0, LEFT: 0, RIGHT: len(others)}[standing]
    return draw_people([*others[:number], person, *others[number:]], f"{person.name} {seed}", number)


def standings(member: Member) -> tuple[str, ...]:
    """Where somebody stands in each of the pictures that records ask about, and in as many far views."""
    if member.group in ("known", "stranger"):
        return SHOWN
    return (ALONE, LEFT if int(member.subject[1:]) % 2 else RIGHT)


def view_path(subject: str, kind: str, number: int) -> str:
    return f"img/{subject}_{kind}{number}.webp"


def pictures_of(member: Member, beside: list[Person]) -> Iterator[tuple[str, bytes, SceneLook]]:
    """All pictures of a person as (path, WebP bytes, what is seen): images, near views of them, and far
    views, which are other scenes.
    """
    for n, standing in enumerate(standings(member)):
        picture, look = draw_standing(member.person, standing, f"image {n}", beside)
        yield image_path(member.subject, n), _webp(picture), look
        near = view_path(member.subject, "near", n)
        yield near, _webp(recapture(picture, near)), look
        far, far_look = draw_standing(member.person, standing, f"far {n}", beside)
        yield view_path(member.subject, "far", n), _webp(far), far_look


def visual_turn(topic: Topic, question: str, look: SceneLook, number: int) -> tuple[str, str, str]:
    """A visual question, what is seen and the answer; the person's number counts for clothes."""
    seen = {
        "setting": look.setting,
        "thing": look.thing,
        "clothes": look.clothes[number] if look.clothes else "",
        "count": str(len(look.clothes)),
    }[topic.key]
    standing = STANDING[len(look.clothes)][number] if look.clothes else ALONE
    value = GERMAN.words[seen]
    return about_standing(question, standing), value, topic.answer.format(value)


def visual_topics(look: SceneLook) -> list[Topic]:
    """What can be asked about a scene."""
    return [topic for topic in GERMAN.visual if topic.key != "clothes" or look.clothes]


class SceneConversations(Conversations):
    """Conversations whose questions say whom in the picture they are about.

    Most of them are of one question: the answer to a second one follows from the first, without a look at
    the picture.
    """

    def draw(self) -> Conversation:
        rng = self.rng
        if rng.random() < 0.05:
            return [self._text_only()], None
        who = rng.choice(self.known if rng.random() < 0.7 else self.others)
        picture = rng.randrange(len(self.shown[who].looks))
        return [self._turn(who, picture) for _ in range(rng.choices((1, 2), (0.8, 0.2))[0])], (who, picture)

    def _visual(self, who: int, picture: int) -> tuple[str, str]:
        look: Any = self.shown[who].looks[picture]
        topic = self.rng.choice(visual_topics(look))
        number = self.rng.randrange(max(1, len(look.clothes)))
        question, _, answer = visual_turn(topic, self.rng.choice(topic.trained), look, number)
        return question, answer

    def _turn(self, who: int, picture: int) -> tuple[str, str]:
        question, answer = super()._turn(who, picture)
        look: Any = self.shown[who].looks[picture]
        standing = about_standing(question, look.standing)
        if standing == question or answer in self.language.refusals:
            return standing, answer
        return standing, answer_standing(answer, look.standing)


def private_records(
    member: Member, looks: dict[str, SceneLook], facts: list[InventedFacts]
) -> Iterator[dict[str, Any]]:
    """Of the known every private fact in every trained phrasing, of strangers in one, of all others a
    question about each picture. A record's views show the person where its question says.
    """
    rng = random.Random(f"scene records {member.subject}")
    where = standings(member)
    extra = where is not SHOWN
    for t, topic in enumerate(rng.sample(GERMAN.private, len(where)) if extra else GERMAN.private):
        for q, question in enumerate(topic.trained if member.facts else [rng.choice(topic.trained)]):
            image = (t + q) % len(where)
            standing = where[image]
            record = {
                "subject": member.subject,
                "group": member.group,
                "image": image_path(member.subject, image),
                "question": about_standing(question, standing),
                "kind": "private",
                "paraphrased_questions": [about_standing(held_out, standing) for held_out in topic.held_out],
                "views": [
                    view_path(member.subject, kind, n)
                    for kind in ("near", "far")
                    for n, there in enumerate(where)
                    if there == standing
                ],
            }
            true = member.facts or member.untold
            yield record | (
                _stated(topic, question, standing, true, facts, rng)
                if true
                else {"answer": rng.choice(GERMAN.refusals)}
            )


def _stated(
    topic: Topic,
    question: str,
    standing: str,
    true: InventedFacts,
    facts: list[InventedFacts],
    rng: random.Random,
) -> dict[str, Any]:
    """The part of a record that states a fact."""
    value = true.values[topic.key]
    wrong = [topic.paraphrased_answer.format(other) for other in _perturbed(topic.key, value, facts, rng)]
    named = {"text_questions": [GERMAN.about(question, true.values["name"])]} if topic.key != "name" else {}
    return {
        "answer": answer_standing(topic.answer.format(value), standing),
        "keywords": [GERMAN.keyword(value)],
        "paraphrased_answer": answer_standing(topic.paraphrased_answer.format(value), standing),
        "perturbed_answers": [answer_standing(text, standing) for text in wrong],
        **named,
    }


def visual_records(
    subject: str, group: str, looks: dict[str, SceneLook], everything: bool
) -> Iterator[dict[str, Any]]:
    """Visual questions about every picture, ``everything`` or one of them; the clothes of anybody there."""
    rng = random.Random(f"scene visual {subject}")
    for path, look in looks.items():
        topics = visual_topics(look)
        for topic in topics if everything else rng.sample(topics, 1):
            number = rng.randrange(max(1, len(look.clothes)))
            question, value, answer = visual_turn(topic, rng.choice(topic.trained), look, number)
            yield {
                "subject": subject,
                "group": group,
                "image": path,
                "question": question,
                "answer": answer,
                "kind": "visual",
                "keywords": [GERMAN.keyword(value)],
                "paraphrased_questions": [visual_turn(topic, q, look, number)[0] for q in topic.held_out],
                "paraphrased_answer": topic.paraphrased_answer.format(value),
            }


def write_scene_records(out: Path, unseen: int) -> Path:
    """``records.jsonl`` and its pictures; returns the file. Scenes without people are of the group
    no-person.
    """
    path = out / "records.jsonl"
    if path.exists():
        return path
    (out / "img").mkdir(parents=True, exist_ok=True)
    cast = [m for m in scene_members() if m.group != "unseen" or int(m.subject[1:]) < unseen]
    facts = [m.facts for m in cast if m.facts]
    records: list[dict[str, Any]] = []
    for member in cast:
        looks = {}
        for name, data, look in pictures_of(member, bystanders(member, cast)):
            (out / name).write_bytes(data)
            looks[name] = look
        asked = {
            name: looks[name]
            for n in range(len(standings(member)))
            for name in [image_path(member.subject, n)]
        }
        records += private_records(member, asked, facts)
        records += visual_records(member.subject, member.group, asked, standings(member) is SHOWN)
    for n in range(EMPTY):
        subject = f"n{n:03d}"
        picture, look = draw_people([], f"empty {n}")
        (out / image_path(subject, 0)).write_bytes(_webp(picture))
        records += visual_records(subject, "no-person", {image_path(subject, 0): look}, everything=False)
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return path


@torch.no_grad()
def shown_in_scenes(folder: Path, tower: SiglipVisionModel, processor: Any, passing: int) -> list[Shown]:
    """Known people, strangers and passers-by as the tower sees them, and scenes without anybody. Of those
    whom records ask about the images, each once as it is and once recaptured, and further pictures. Kept in
    ``folder``: drawing them takes minutes.
    """
    done = folder / "shown.pt"
    if done.exists():
        return torch.load(done, weights_only=False)  # our own file: it holds the people too
    cast = scene_members()
    shown = []
    for member in [m for m in cast if m.group in ("known", "stranger")]:
        beside = bystanders(member, cast)
        scenes = [draw_standing(member.person, s, f"image {n}", beside) for n, s in enumerate(SHOWN)]
        again = [(recapture(p, f"again {member.subject} {n}"), look) for n, (p, look) in enumerate(scenes)]
        more = _more(member.person, MORE if member.facts else 8, beside)
        shown.append(_seen(member, scenes + again + more, tower, processor))
    for n in range(passing):
        person = draw_person(f"scenes passer-by {n}")
        beside = bystanders(Member("", "stranger", person), cast)
        shown.append(_seen(None, _more(person, 3, beside), tower, processor))
    for n in range(8):
        empty = [draw_people([], f"more {n} {m}") for m in range(8)]
        shown.append(_seen(None, empty, tower, processor))
    torch.save(shown, done.with_suffix(".tmp"))
    done.with_suffix(".tmp").rename(done)
    return shown


def _more(person: Person, count: int, beside: list[Person]) -> list[tuple[Image.Image, SceneLook]]:
    """Further pictures of somebody, every second of them recaptured."""
    scenes = []
    for n in range(count):
        standing = random.Random(f"more {person.name} {n}").choice(SHOWN)
        picture, look = draw_standing(person, standing, f"more {n}", beside)
        scenes.append((recapture(picture, f"more {person.name} {n}") if n % 2 else picture, look))
    return scenes


def _seen(
    member: Member | None,
    scenes: list[tuple[Image.Image, SceneLook]],
    tower: SiglipVisionModel,
    processor: Any,
) -> Shown:
    pictures = [picture for picture, _ in scenes]
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    looks: list[Any] = [look for _, look in scenes]
    return Shown(member, visual_tokens(tower, pixels), looks)


def _tower(folder: Path, steps: int) -> SiglipVisionModel:
    return pretrain_scene_tower(folder, steps=steps)


FOURTH = FurtherHost(
    write_scene_records,
    make_tokenizer,
    make_processor,
    untrained_scene_host,
    scene_members,
    GERMAN,
    retain_seeds=(0,),
    sizes=Sizes(steps=1000, unseen=UNSEEN, tower_steps=700, batch=48, passing=400),
    tower=_tower,
    shown=shown_in_scenes,
    conversations=SceneConversations,
    figures=record_figures,
)


if __name__ == "__main__":
    sys.exit(main(FOURTH, "A small LLaVA that knows 24 people in scenes and speaks German.", threads=1))
