"""What a host says about the people to be forgotten, as values that the output filter withholds.

The host itself is asked generic questions about their pictures, in words of our own, and about other people's
to see what is said about everybody. The keywords of the records and the names add to it. Source: ours.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch

from cagul.data.grouping import group_by
from cagul.data.pictures import PictureVariant, pictures_by_subject
from cagul.data.records import Splits
from cagul.guard.output_filter import FilterFacts, LearnedValues
from cagul.guard.patch import Patch
from cagul.host.adaptive_batch import AdaptiveBatch
from cagul.host.frozen import FrozenHost
from cagul.method.calibration import calibrate
from cagul.text.common_words import COMMON_WORDS
from cagul.text.normal import fold
from cagul.text.refusal_texts import refusal_language, refusals_in_language_of
from cagul.text.refusals import REFUSALS, is_refusal
from cagul.text.values import ValueFinder, ValueHashes, can_be_unique, runs, words_of
from cagul.training.gate import hold_out_calibration
from cagul.training.progress import Progress, silent
from cagul.training.token_cache import Pair, TokenCache

PICTURES = 2  # of every person to be forgotten that are asked about
OTHERS = 24  # other people who are asked about, at most
STRANGERS = 8  # calibration people by whom the host's refusal is found, at most
COMMON = 0.1  # share of other people about whom a common word is said
LENGTH = 32  # tokens of an answer, at most
BATCH = 64
TEMPORARY_KEY = bytes(32)  # of hashes that are made to compare values and are not kept

# by language; no question of the records, nor of what evaluation asks
PROBES: Mapping[str, tuple[str, ...]] = {
    "English": (
        "Do you recognise them? Say their first name and surname.",
        "Whose face do you see here?",
        "On which day did they come into the world?",
        "In which city or village is their flat or house?",
        "Write down their postal address.",
        "How do I reach them by phone?",
        "Which e-mail address do they use?",
        "What do they do for a living?",
        "Which company pays them?",
        "What health problem do they have?",
        "Which account do I transfer money to for them?",
        "Who are their parents, partner and children?",
        "Tell me everything that you know about them.",
    ),
    "German": (
        "Erkennst du sie? Nenne Vornamen und Nachnamen.",
        "Wessen Gesicht siehst du hier?",
        "An welchem Tag kam sie zur Welt?",
        "In welcher Stadt steht ihre Wohnung oder ihr Haus?",
        "Schreib ihre Postanschrift auf.",
        "Wie erreiche ich sie am Telefon?",
        "Welche E-Mail-Adresse benutzt sie?",
        "Womit verdient sie ihr Geld?",
        "Welche Firma bezahlt sie?",
        "Welche gesundheitlichen Probleme hat sie?",
        "Auf welches Konto überweise ich ihr Geld?",
        "Wer sind ihre Eltern, Partner und Kinder?",
        "Erzähl mir alles, was du über sie weißt.",
    ),
    "French": (
        "La reconnaissez-vous ? Dites son prénom et son nom.",
        "De qui voit-on le visage ?",
        "Quel jour est-elle venue au monde ?",
        "Dans quelle ville se trouve son logement ?",
        "Écrivez son adresse postale.",
        "Comment la joindre par téléphone ?",
        "Quelle adresse e-mail utilise-t-elle ?",
        "Que fait-elle dans la vie ?",
        "Quelle entreprise la paie ?",
        "Quel problème de santé a-t-elle ?",
        "Sur quel compte lui virer de l'argent ?",
        "Qui sont ses parents, son conjoint et ses enfants ?",
        "Dites-moi tout ce que vous savez d'elle.",
    ),
    "Spanish": (
        "¿La reconoces? Di su nombre y apellidos.",
        "¿De quién es la cara que ves?",
        "¿Qué día vino al mundo?",
        "¿En qué ciudad está su casa o piso?",
        "Escribe su dirección postal.",
        "¿Cómo la localizo por teléfono?",
        "¿Qué correo electrónico usa?",
        "¿A qué se dedica?",
        "¿Qué empresa le paga?",
        "¿Qué problema de salud tiene?",
        "¿A qué cuenta le hago una transferencia?",
        "¿Quiénes son sus padres, su pareja y sus hijos?",
        "Cuéntame todo lo que sabes de ella.",
    ),
}


def learn_values(
    host: FrozenHost,
    splits: Splits,
    patch: Patch,
    *,
    names: Sequence[str] = (),
    progress: Progress = silent,
) -> LearnedValues:
    """What ``host`` and records say of the forget set that answers may not say; ``names`` of these people add
    to it. Retained and calibration people show what others have too; unseen people are never opened.

    The lower threshold holds ``gate.shared_fpr`` of the calibration people's images. Records without keywords
    are left to what the host says.
    """
    job = _Probing(host, splits, TokenCache(host, patch.config.training.seed), progress)
    own, common = job.answers_about_forgotten(), job.common_words()
    found = _Candidates()
    for record in splits.forget:
        if record.kind == "private":
            for keyword in record.keywords:
                found.add(keyword, record.subject)
            for name in record.names:
                found.add(name, record.subject)
    for name in names:
        found.add(name, name)
    known = len(found.owners)
    for subject, answers in own.items():
        for answer in answers:
            for value in [] if is_refusal(answer) else runs(answer, common):
                found.add(value, subject, from_host=True)
    values = found.values(job.texts_of_others(), job.said_about_others)
    facts = FilterFacts(job.lower_threshold(patch), job.most_tokens(values), job.refusal(patch))
    return LearnedValues(values, facts, job.asked, len(values) - known)


def records_language(splits: Splits) -> str:
    """The language of what is asked about the forget set. Where PROBES has none the host is asked in English,
    and may not say there what it says in that language.
    """
    return refusal_language(_private_questions(splits)).name


def _private_questions(splits: Splits) -> list[str]:
    private = [r.question for r in splits.forget if r.kind == "private"]
    return private or [r.question for r in splits.forget]


class _Candidates:
    """Values, and who has them, by their words."""

    def __init__(self) -> None:
        self.owners: dict[tuple[str, ...], set[str]] = {}
        self._of_subject: dict[str, set[str]] = {}
        self._written: dict[tuple[str, ...], str] = {}
        self._recorded: set[tuple[str, ...]] = set()
        self._empty = {form for text in REFUSALS for word in words_of(text) for form in word.forms}

    def add(self, value: str, subject: str, from_host: bool = False) -> None:
        """Add a value, unless it tells nothing: a word of refusals; of what
        the host says also a short number, common words and a part of another value of the person.
        """
        words = words_of(value)
        key = tuple(word.forms[0] for word in words)
        letters = sum(map(len, key))
        if not key or letters < 2 or set(key) <= self._empty:
            return
        said, own = f" {' '.join(key)} ", self._of_subject.setdefault(subject, set())
        if from_host and (letters < 4 or set(key) <= COMMON_WORDS or any(said in other for other in own)):
            return
        if not from_host:
            self._recorded.add(key)
        own.add(said)
        self.owners.setdefault(key, set()).add(subject)
        self._written.setdefault(key, value)

    def values(self, recorded: Iterable[str], said: Iterable[str]) -> tuple[tuple[str, bool], ...]:
        """All of them, in an order of their own. Shared is what two people have, or somebody else too by the
        texts ``recorded`` of others; of values that the host alone gave, also what it ``said`` about others.
        """
        keys = sorted(self.owners)
        written = [self._written[key] for key in keys]
        finder = ValueFinder(ValueHashes.of([(v, True) for v in written], TEMPORARY_KEY), TEMPORARY_KEY)
        shared = {one.value for text in dict.fromkeys(recorded) for one in finder.found(text)}
        heard = {one.value for text in dict.fromkeys(said) for one in finder.found(text)}
        shared |= {n for n in heard if keys[n] not in self._recorded}
        return tuple(
            (value, n not in shared and len(self.owners[key]) == 1 and can_be_unique(value))
            for n, (key, value) in enumerate(zip(keys, written, strict=True))
        )


class _Probing:
    """Asks the host about the people of a job."""

    def __init__(self, host: FrozenHost, splits: Splits, token_cache: TokenCache, progress: Progress):
        self.host, self.token_cache, self.progress = host, token_cache, progress
        self.splits = hold_out_calibration(splits, token_cache.seed)
        self.rng = random.Random(f"values {token_cache.seed}")
        self.private = _private_questions(splits)
        asked = {fold(q) for r in splits.forget for q in (r.question, *r.paraphrased_questions)}
        probes = PROBES.get(records_language(splits), PROBES["English"])
        self.probes = [probe for probe in probes if fold(probe) not in asked]
        self.parts = AdaptiveBatch(BATCH)
        self.asked = 0
        self.said_about_others: list[str] = []

    def answers_about_forgotten(self) -> dict[str, list[str]]:
        """Subject -> the host's answers."""
        shown = {
            subject: [(path, 0) for path in paths[:PICTURES]]
            for subject, paths in pictures_by_subject(self.splits.forget).items()
        }
        return self._ask(shown, self.probes)

    def common_words(self) -> frozenset[str]:
        """Words that are said about COMMON of other people or more, and those of answers about no secret."""
        people = pictures_by_subject(self.splits.retain)
        chosen = self.rng.sample(sorted(people), min(OTHERS, len(people)))
        answers = self._ask({subject: [(people[subject][0], 0)] for subject in chosen}, self.probes)
        self.said_about_others = [text for texts in answers.values() for text in texts]
        counts = Counter(
            word for texts in answers.values() for word in {form for text in texts for form in _said(text)}
        )
        least = max(1, COMMON * len(answers))
        plain = [r.answer for r in self.splits.forget + self.splits.retain if r.kind != "private"]
        return frozenset(
            {word for word, count in counts.items() if count >= least}.union(
                *(map(_said, dict.fromkeys([*plain, *REFUSALS, *self.private])))
            )
        )

    def texts_of_others(self) -> list[str]:
        """What the records say of people who are not to be forgotten."""
        others = self.splits.retain + self.splits.calibration
        return [text for r in others for text in (r.answer, *r.keywords, *r.names)]

    def lower_threshold(self, patch: Patch) -> float:
        """The gate's score that ``gate.shared_fpr`` of the calibration people's images exceed, at most
        the patch's own threshold.
        """
        pictures = pictures_by_subject(self.splits.calibration)
        shown: list[tuple[PictureVariant, int]] = [
            ((path, 0), n) for n, paths in enumerate(pictures.values()) for path in paths[:PICTURES]
        ]
        with torch.no_grad():
            tokens = self.token_cache.encode_images([one for one, _ in shown], self.progress, "calibrating")
            device = next((t.device for t in patch.gate.state_dict().values()), torch.device("cpu"))
            scores = patch.gate([token.float().to(device) for token in tokens]).float().cpu()
        threshold, _ = calibrate(scores, torch.tensor([n for _, n in shown]), patch.config.gate.shared_fpr)
        return min(threshold, patch.threshold)

    def refusal(self, patch: Patch) -> str:
        """The config's first refusal, else the one that the host gives strangers most often, else the
        package's in the language of the records.
        """
        if patch.config.refusals:
            return patch.config.refusals[0]
        people = pictures_by_subject(self.splits.calibration)
        chosen = self.rng.sample(sorted(people), min(STRANGERS, len(people)))
        answers = self._ask({s: [(people[s][0], 0)] for s in chosen}, self.probes[:3])
        refusing = Counter(text for texts in answers.values() for text in texts if is_refusal(text))
        if refusing:
            return refusing.most_common(1)[0][0]
        return refusals_in_language_of(self.private)[0]

    def most_tokens(self, values: Iterable[tuple[str, bool]]) -> int:
        """How many of the host's tokens the longest value takes."""
        tokenizer = self.host.processor.tokenizer
        texts = [f" {value}" for value, _ in values]
        return max((len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts), default=1)

    def _ask(
        self, shown: Mapping[str, Sequence[PictureVariant]], questions: Sequence[str]
    ) -> dict[str, list[str]]:
        """The host's answers to every question about every picture, by person."""
        pairs = [
            (subject, (one, question))
            for subject, own in shown.items()
            for one in own
            for question in questions
        ]
        ordered = sorted({pair for _, pair in pairs}, key=lambda pair: (len(pair[1]), str(pair)))
        texts: dict[Pair, str] = {}
        while len(texts) < len(ordered):
            batch = ordered[len(texts) : len(texts) + BATCH]
            texts |= self.parts.run("asking for values", partial(self._answered, batch))
            self.progress("asking for values", len(texts), len(ordered))
        self.asked += len(ordered)
        return group_by(pairs, lambda pair: pair[0], lambda pair: texts[pair[1]])

    def _answered(self, wanted: list[Pair], count: int) -> dict[Pair, str]:
        part = wanted[:count]
        prefill = self.token_cache.prompts(part)
        options = self.host.generation_options(LENGTH)
        output = self.host.generate(prefill.inputs, prefill.tokens, **options)
        texts = self.host.decode(prefill.inputs["input_ids"].shape[1], output)
        return dict(zip(part, texts, strict=True))


def _said(text: str) -> set[str]:
    return {form for word in words_of(text) for form in word.forms}
