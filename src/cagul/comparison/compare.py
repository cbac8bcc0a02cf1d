"""Tune every method by one rule on validation rows, ask the winners the test rows, keep every answer; go on
after a kill.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from cagul.baselines.search_space import Point
from cagul.comparison.attacked import attack_method, attacks_asked
from cagul.comparison.methods import METHODS, BuildContext, BuiltMethod, ComparedMethod, starting_points
from cagul.comparison.results import ABOUT, ATTACKED, DONE, judged, results, trial_name, trials_of
from cagul.comparison.tuning import WIDENINGS, best, label, wider
from cagul.comparison.validation_split import Part, part_of
from cagul.data.grouping import group_by
from cagul.errors import HostError
from cagul.evaluation.questions import (
    EVERYTHING,
    Item,
    Sample,
    forget_items,
    misfire_items,
    other_items,
    scored_facts,
    text_only_items,
)
from cagul.evaluation.result_rows import RETAIN_HOST, RETRAIN, TrialFields
from cagul.evaluation.rows import Answerer, answer_rows, gate_rows, likelihood_rows
from cagul.evaluation.run_folder import Run
from cagul.evaluation.score import require_same_tokens
from cagul.guard.guard import Guard

# cagul's options and finetuning's steps under --quick
QUICK, QUICK_STEPS = ("training.steps=20", "gate.augment_others=1"), 10
# parameters up to which a grid's best answerer is held in memory until it is asked the test rows
HELD = 200_000_000


@dataclass(frozen=True)
class Samples:
    """Which rows of each part are asked, by name; the names stand in the results."""

    name: str
    validation: Sample
    test: Sample
    paraphrases: int = 0  # of the forget set, in each part; 0 is all
    images: int = 0


SAMPLES = {
    "compare": Samples(
        "compare",
        Sample(views=64, retain=96, unseen=0, likelihoods=32),
        Sample(views=80, retain=144, unseen=144, misfire=48, gate_views=400, text=16, likelihoods=48),
        images=48,
        paraphrases=40,
    ),
    "quick": Samples(
        "quick",
        Sample(views=24, retain=24, unseen=0, likelihoods=12),
        Sample(views=16, retain=24, unseen=24, misfire=8, gate_views=32, text=8, likelihoods=8),
        images=16,
        paraphrases=8,
    ),
    "full": Samples("full", EVERYTHING, EVERYTHING),
}


@dataclass(frozen=True)
class ComparisonPlan:
    """One comparison. ``quick`` takes the middle of every grid untried, on the first seed alone, and says
    so. ``attacks`` names the budget of the attacks on every method; empty for none.
    """

    methods: tuple[str, ...]
    samples: Samples
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    attacks: str = ""


class TimeUp(Exception):  # noqa: N818 - no error: a piece of the work is done
    """The minutes that this piece of the work may take are over."""


def _finite(value: Any) -> bool:
    """Whether every float in a row's field is a number, lists within lists too."""
    return (
        all(map(_finite, value))
        if isinstance(value, list | tuple)
        else not isinstance(value, float) or math.isfinite(value)
    )


class Comparison:
    """A comparison under way. ``deadline`` (of time.monotonic) ends it between two steps of whatever it does.

    Raises HostError for a retain host of another family or tokenizer, or with the host's own weights;
    DataError when validation or test has nobody to ask about.
    """

    def __init__(self, context: BuildContext, plan: ComparisonPlan, run: Run, deadline: float | None = None):
        self.context, self.plan, self.run, self.deadline = context, plan, run, deadline
        self.outer, context.progress = context.progress, self.progress
        self.parts = {part: part_of(context.splits, part) for part in ("validation", "test")}
        self.held: tuple[str, BuiltMethod] | None = None
        if context.retain_host is not None:
            require_same_tokens(context.host, context.retain_host)
            if context.retain_host.fingerprint() == context.host.fingerprint():
                raise HostError(
                    "The retain host has the same weights as the host.",
                    "Give a host that was trained without the "
                    "forget set: `cagul memorise --exclude` makes one.",
                    "retain-host",
                )

    def progress(self, stage: str, done: int, total: int) -> None:
        self.outer(stage, done, total)
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeUp

    def compare(self) -> dict[str, Any]:
        """Do what is missing, write and return the summary. Raises TimeUp; what was done is kept."""
        before = self.context.host.fingerprint()
        (self.run.folder / "summary.json").unlink(missing_ok=True)
        self.write_header_row(before, finished=False)
        for part in ("validation", "test"):
            if part == "test" or not self.plan.quick:
                self.ask("host", part, (), self.plan.seeds[0])
        self.score_retain_host()
        self.attack_references()
        methods = [name for name in self.plan.methods if name != "host"]
        for number, name in enumerate(methods):
            self.outer("methods, tuned", number, len(methods))
            winner = self.tune(name)
            if winner is not None:
                built = self.ask(name, "test", winner, self.plan.seeds[0])
                self.attack(name, winner, built)
            self.held = None
        self.outer("methods, tuned", len(methods), len(methods))
        self.ask_other_seeds(methods)
        if self.context.host.fingerprint() != before:
            raise HostError(
                "The host's weights changed during the comparison.",
                "This is a bug: please report it.",
                "host-changed",
            )
        shutil.rmtree(self.context.folder, ignore_errors=True)
        self.write_header_row(before, finished=True)
        summary = results(list(self.run.rows.by_key.values()))
        self.run.finish(summary)
        return summary

    def score_retain_host(self) -> None:
        """Likelihoods of the forget set's facts by the retain host, where there is one."""
        if self.context.retain_host is None:
            return
        facts = scored_facts(self.parts["test"], self.plan.samples.test)
        forgotten = [fact for fact in facts if fact[0] == "forget"]
        likelihood_rows(Answerer(RETAIN_HOST, self.context.retain_host), forgotten, self.run, self.progress)

    def ask_other_seeds(self, methods: Sequence[str]) -> None:
        """Train the winners of methods that have a seed again with every further seed, and ask them."""
        for seed in self.plan.seeds[1:]:
            for name in methods:
                winner = self.winner(name)
                if winner is not None and METHODS[name].seeded:
                    self.ask(name, "test", winner, seed)

    def attack_references(self) -> None:
        """Attack the host, and the host that never knew where there is one: every method is held against
        it.
        """
        self.attack("host", (), BuiltMethod(self.context.host))
        if self.context.retain_host is not None:
            self.attack(RETRAIN, (), BuiltMethod(self.context.retain_host))

    def attack(self, name: str, point: Point, built: BuiltMethod | None) -> None:
        """Attack a method under the first seed, if the plan wants it and it is not done yet. ``built`` is
        what answers; without it that is built again.
        """
        seed = self.plan.seeds[0]
        trial = trial_name(name, "test", label(point), seed)
        mark, done = f"{ATTACKED}/{trial}", self.run.rows.by_key.get(f"{DONE}/{trial}", {})
        if not self.plan.attacks or mark in self.run.rows.by_key or done.get("diverged"):
            return
        built = built or METHODS[name].build(self.context, point, seed)
        if built.answerer is None:
            return
        facts = attack_method(
            name,
            METHODS[name],
            built.answerer,
            self.parts["test"],
            self.plan.attacks,
            trial,
            self.run,
            self.progress,
        )
        self.run.rows.append([{"key": mark, "method": ATTACKED, "name": name, **facts}])

    def write_header_row(self, sha256: str, finished: bool) -> None:
        """Put the row down that tells what is compared; of an unfinished comparison too, so that its rows can
        be read.
        """
        host = self.context.host
        self.run.rows.append(
            [
                {
                    "key": ABOUT,
                    "method": ABOUT,
                    "methods": list(self.plan.methods),
                    "quick": self.plan.quick,
                    "finished": finished,
                    "seeds": list(self.plan.seeds),
                    "settings": list(self.context.settings),
                    "attacks": attacks_asked(self.plan.attacks) if self.plan.attacks else None,
                    "threads": torch.get_num_threads(),
                    "host": {
                        "name": host.name,
                        "model_type": host.family.model_type,
                        "parameters": host.parameters(),
                        "sha256_before": sha256,
                        "sha256_after": host.fingerprint(),
                    },
                    "people": {
                        split: len(self.context.splits.subjects(split)) for split in vars(self.context.splits)
                    },
                    "sample": {
                        "name": self.plan.samples.name,
                        **vars(self.plan.samples.test),
                        "images": self.plan.samples.images,
                        "paraphrases": self.plan.samples.paraphrases,
                        "validation": vars(self.plan.samples.validation),
                    },
                }
            ]
        )

    # -- tuning

    def points(self, name: str) -> list[Point] | None:
        """The grid that a method starts with; None where the method that it is like has no winner."""
        method = METHODS[name]
        if method.like:
            winner = self.winner(method.like)
            return None if winner is None else [winner]
        points = list(starting_points(name, self.context.host)) or [()]
        return [points[len(points) // 2]] if self.plan.quick else points

    def tune(self, name: str) -> Point | None:
        """Try the grid, widen it while its winner stands at an edge, and return the winner; None when all
        trials diverged.
        """
        points, seed = self.points(name), self.plan.seeds[0]
        if points is None:
            return None
        if len(points) == 1:
            return points[0]
        bound = len(points) + WIDENINGS
        widened = [
            trial.point
            for trial in trials_of(self.run.rows.by_key.values(), name)
            if trial.point not in points
        ]
        points += widened  # by the run that this one goes on from
        while True:
            for point in points:
                built = self.ask(name, "validation", point, seed)
                if (
                    built is not None
                    and self.winner(name) == point
                    and self.context.host.parameters() <= HELD
                ):
                    self.held = (f"{name} {label(point)} {seed}", built)
            winner = self.winner(name)
            further = wider(points, winner) if winner is not None else None
            if further is None or len(points) == bound:
                return winner
            points.append(further)

    def winner(self, name: str) -> Point | None:
        """The point that a method is asked the test rows at, from the validation rows that are there."""
        method = METHODS[name]
        if method.like:
            return self.winner(method.like)
        if self.plan.quick or not method.points:
            return (self.points(name) or [()])[0]
        best_trial = best(trials_of(self.run.rows.by_key.values(), name))
        return None if best_trial is None else best_trial.point

    # -- asking

    def ask(self, name: str, part: Part, point: Point, seed: int) -> BuiltMethod | None:
        """Build a method's answerer and ask it one part's questions; None where that is done already.

        What diverged is a result too: its row says so, and nobody is asked.
        """
        trial = trial_name(name, part, label(point), seed)
        if f"{DONE}/{trial}" in self.run.rows.by_key:
            return None
        method, same = METHODS[name], f"{name} {label(point)} {seed}"
        built = (
            self.held[1]
            if self.held is not None and self.held[0] == same
            else method.build(self.context, point, seed)
        )
        diverged = built.diverged
        if built.answerer is not None:
            extra_fields: TrialFields = {"seed": seed, "point": label(point)}
            answerer = Answerer(
                name if part == "test" else f"{name}:validation",
                built.answerer,
                key_prefix=trial,
                extra_fields=extra_fields,
            )
            self.ask_all(answerer, method, part)
            rows = self.rows_of(trial)
            wrong = sum(not _finite(list(row.values())) for row in rows)
            if wrong:
                diverged = f"likelihoods or scores of {wrong} answers are no numbers"
                self.run.rows.drop([row["key"] for row in rows])
        done = {
            "key": f"{DONE}/{trial}",
            "method": DONE,
            "name": name,
            "part": part,
            "point": label(point),
            "seed": seed,
            "options": [list(option) for option in point],
            "facts": built.facts,
            "diverged": diverged,
            "silent_likelihoods": method.silent_likelihoods,
        }
        if part == "validation" and not diverged:
            done |= judged(
                rows,
                rows if name == "host" else self.rows_of(self.host_trial),
                bool(method.silent_likelihoods),
            )
        self.run.rows.append([done])
        return built

    @property
    def host_trial(self) -> str:
        return trial_name("host", "validation", label(()), self.plan.seeds[0])

    def rows_of(self, trial: str) -> list[dict]:
        begins = (f"{trial}/", f"{trial}:")
        return [row for key, row in self.run.rows.by_key.items() if key.startswith(begins)]

    def ask_all(self, answerer: Answerer, method: ComparedMethod, part: Part) -> None:
        splits, samples, run = self.parts[part], self.plan.samples, self.run
        sample = samples.validation if part == "validation" else samples.test
        facts = scored_facts(splits, sample)
        if not method.silent_likelihoods:
            likelihood_rows(
                answerer,
                facts if part == "test" else [f for f in facts if f[0] != "unseen"],
                run,
                self.progress,
            )
        items = [*self.forget(part), *other_items(splits, "retain", sample.retain, sample)]
        if part == "validation":
            answer_rows(
                answerer, [item for item in items if item.record.kind == "private"], run, self.progress
            )
            return
        answer_rows(
            answerer, [*items, *other_items(splits, "unseen", sample.unseen, sample)], run, self.progress
        )
        answer_rows(answerer.part("text_only"), text_only_items(splits, sample), run, self.progress)
        if isinstance(guard := answerer.model, Guard) and method.sort != "guardrail":
            with guard.forced():
                answer_rows(answerer.part("forced"), misfire_items(splits, sample), run, self.progress)
            if method.gate and answerer.extra_fields["seed"] == self.plan.seeds[0]:
                gate_rows(guard, splits, run, sample, self.progress, f"{answerer.method}:gate")

    def forget(self, part: Part) -> list[Item]:
        samples = self.plan.samples
        sample = samples.validation if part == "validation" else samples.test
        limits = {"image": samples.images, "visual": samples.images, "paraphrase": samples.paraphrases}
        by_sort = group_by(forget_items(self.parts[part], sample), attrgetter("sort"))
        return [
            item for sort, items in by_sort.items() for item in sample.draw(items, limits.get(sort, 0), sort)
        ]
