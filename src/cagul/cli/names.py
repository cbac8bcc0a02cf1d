"""The names that a job enrols: from options and records, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cagul.cli.terminal import err
from cagul.data.person_names import names_in_answers, names_of_records
from cagul.errors import DataError, UsageError
from cagul.files import read_text
from cagul.text import counts
from cagul.text.matching import Matcher

if TYPE_CHECKING:
    from cagul.data.records import Record, Splits
    from cagul.deletion.tables import SealedPart
    from cagul.guard.output_filter import LearnedValues
    from cagul.guard.patch import Patch
    from cagul.guard.sealed_names import SealedNames
    from cagul.host.frozen import FrozenHost
    from cagul.training.progress import Progress


@dataclass(frozen=True)
class EnrolledNames:
    """Names to seal beside a patch, where their key is, and whether names of one word were asked for. A
    ``base_key`` is copied to ``key``: one that lies beside the names of the base patch. ``output_filter``:
    whether values are sealed too; if not given, where there are names. ``learn`` finds them for a patch.
    """

    names: tuple[str, ...]
    key: Path | None
    one_word: bool
    base: Patch | None = None
    base_key: Path | None = None
    output_filter: bool | None = None
    learn: Callable[[Patch], LearnedValues] | None = None

    @property
    def wants_values(self) -> bool:
        return bool(self.names) if self.output_filter is None else self.output_filter

    def learning(self, host: FrozenHost, splits: Splits, progress: Progress) -> EnrolledNames:
        """These, with values that ``host`` says of the forget set, where these are wanted."""
        from cagul.training.values import learn_values

        learn = partial(learn_values, host, splits, names=self.names, progress=progress)
        return replace(self, learn=learn if self.wants_values else None)

    def say_language(self, splits: Splits) -> None:
        """Warn where the filter has no questions in the language of the records."""
        from cagul.training.values import PROBES, records_language

        if self.wants_values and (language := records_language(splits)) not in PROBES:
            err.say(
                f"Warning: the records are in {language}, in which the output filter has no questions "
                f"({', '.join(PROBES)}). It asks the host in English and may miss what the host says in "
                f"{language} alone; keywords and names of the records are known to it.",
                style="yellow",
            )

    def beside(self, base: Path | None, folder: Path) -> EnrolledNames:
        """These, with their key beside the patch in ``folder`` where that of the patch in ``base`` lies
        beside its names and no other was named.
        """
        from cagul.guard.sealed_names import key_beside

        if self.key or base is None or self.earlier is None:
            return self
        copied = key_beside(base)
        return replace(self, key=key_beside(folder), base_key=copied) if copied.exists() else self

    @property
    def any(self) -> bool:
        """Whether there is something to seal, of these or of the base patch."""
        return bool(self.names) or self.wants_values or self.earlier is not None

    @property
    def earlier(self) -> SealedNames | None:
        """What is sealed beside the base patch, where there is one."""
        from cagul.guard.sealed_names import sealed_of

        return None if self.base is None else sealed_of(self.base)

    def check(self, folder: Path) -> None:
        """Raises DataError for a name that cannot be taken and UsageError for a base patch whose names cannot
        be read, for a key file that holds no key and for the names of an earlier patch in ``folder``: before
        the training, not after it.
        """
        from cagul.guard.sealed_names import default_key_path, find_sealed, read_key
        from cagul.text.person_names import parse_names

        if stale := find_sealed(folder):
            raise UsageError(
                f"{stale} holds the names of an earlier patch in {folder}, which is not there any more.",
                "Remove that file, or give another --out.",
                "names",
            )

        if self.base is not None and self.base.names_off:
            raise UsageError(
                f"The gate for names of the patch to add to is {self.base.names_note}.",
                "The new patch is to know these names too.",
                "names",
            )
        parse_names(self.names, one_word=self.one_word)
        key = self.key or default_key_path()
        if self.any and key.exists():
            read_key(key)

    def make_key(self) -> None:
        """Make the key where there are names and it is not there yet. Raises UsageError, WriteError."""
        from cagul.guard.sealed_names import default_key_path, make_key

        if self.any:
            make_key(self.key or default_key_path(), self.base_key)

    def require_for(self, probe: str) -> None:
        """Raises UsageError where the gate is to fire on names that a host says, and there are none."""
        base = self.base is not None and self.base.names is not None
        if probe == "name" and not (self.names or base):
            raise UsageError(
                "gate.probe=name fires where the host says a forgotten name, and no names are enrolled.",
                "Give the names with --name, --names-from-answers or in the records, or set gate.probe=none.",
                "names",
            )

    def give(self, made: Patch) -> None:
        """Give a patch that is not saved yet the gate for these names. Their key is there."""
        from cagul.guard.sealed_names import SealedNames, default_key_path, read_key
        from cagul.text.person_names import parse_names

        if self.any:
            secret = read_key(self.key or default_key_path())
            names = parse_names(self.names, one_word=self.one_word)
            sealed = SealedNames.of(names, len(self.names), secret)
            earlier = self.earlier
            made.names = (sealed if earlier is None else sealed.merged(earlier)).gate(secret)

    def seal(self, made: Patch, folder: Path) -> None:
        """Seal them, and those of the base patch, beside the patch in ``folder``."""
        from cagul.guard.sealed_names import seal_names

        if self.any:
            seal_names(
                made,
                folder,
                self.names,
                self.key,
                one_word=self.one_word,
                earlier=self.earlier,
                values=None if self.learn is None else self.learn(made),
            )

    def save(self, made: Patch, folder: Path) -> Path:
        """Seal them and save the patch in ``folder``, in this order: a patch is never there without its
        names. Returns the folder.
        """
        from cagul.guard.sealed_names import sealed_path

        self.seal(made, folder)
        try:
            return made.save(folder)
        except BaseException:
            if self.any:
                sealed_path(folder).unlink(missing_ok=True)
            raise


def read_names(given: Sequence[str], forget: Sequence[Record], from_answers: bool) -> tuple[str, ...]:
    """The names of the options (``@FILE`` has one a line) and of the records of the people to be forgotten,
    each once. Says for how many of these people there is none. Raises DataError for a file that cannot be
    read.
    """
    listed = [name for one in given for name in (_in_file(one[1:]) if one.startswith("@") else [one])]
    recorded = names_of_records(forget)
    if from_answers:
        for subject, names in names_in_answers(forget).items():
            recorded[subject] = [*recorded.get(subject, []), *names]
    people = {record.subject for record in forget}
    if recorded or from_answers:
        _warn_of_unnamed(len(people), len(people - set(recorded)))
    _warn_of_unsaid(recorded, forget)
    return tuple(dict.fromkeys([*listed, *(name for names in recorded.values() for name in names)]))


def _in_file(path: str) -> list[str]:
    names = [line.strip() for line in read_text(path, "the list ").split("\n") if line.strip()]
    if not names:
        raise DataError(f"The list {path} holds no name.", "Write one name a line.", "names")
    return names


def _warn_of_unnamed(people: int, unnamed: int) -> None:
    if unnamed:
        err.say(
            f"Warning: for {unnamed} of the {counts.people(people)} to be forgotten the records give no "
            "name, so the gate for names does not know them.",
            style="yellow",
        )


def _warn_of_unsaid(recorded: dict[str, list[str]], forget: Iterable[Record]) -> None:
    """Warn of names that no answer or question of their person says: a misspelled one guards nobody."""
    said: dict[str, list[str]] = {}
    for record in forget:
        texts = [part for text in record.pure_text for part in (text.question, text.answer)]
        said.setdefault(record.subject, []).extend([record.answer, *record.text_questions, *texts])
    unsaid = sum(
        not Matcher([name]).search(" \n ".join(said.get(subject, [])))
        for subject, names in recorded.items()
        for name in names
    )
    if unsaid:
        err.say(
            f"Warning: {unsaid} of the names in the records are said in no answer of their person; check "
            "their spelling, unless they are aliases.",
            style="yellow",
        )


def names_facts(patch: Patch) -> dict[str, object]:
    """Whether the gate for names is on, and why not or how many names it has, for ``--json``."""
    return {"on": patch.names is not None, "note": names_note(patch)}


def names_note(patch: Patch) -> str:
    """The patch's note on its names; of a patch from before names were counted also what it cannot tell."""
    from cagul.guard.sealed_names import NO_NAMES, SEALED

    if patch.names_note != NO_NAMES or SEALED in patch.facts:
        return patch.names_note
    return (
        f"{NO_NAMES} that the patch knows of: an earlier cagul made it, which kept no count of the names "
        "sealed beside it, so a lost file would not show"
    )


def filter_facts(patch: Patch, on: bool = True) -> dict[str, object]:
    """Whether the output filter is on, and why not or how many values it knows, for ``--json``."""
    return {"on": on and patch.values is not None, "note": filter_note(patch, on)}


def filter_note(patch: Patch, on: bool = True) -> str:
    """The patch's note on the values of the output filter, or that it is switched off."""
    if on or patch.values is None:
        return patch.values_note
    return f"OFF by --no-filter: {patch.values_note}"


def say_filter(patch: Patch, on: bool = True, further: str = "") -> None:
    """Say whether the output filter is on, and something ``further`` where it is; nothing of a patch without
    values.
    """
    from cagul.guard.output_filter import NO_VALUES

    if patch.values is not None and on:
        err.say(f"Output filter: {patch.values_note}{further}.")
    elif patch.values_note != NO_VALUES:
        err.say(f"Output filter {filter_note(patch, on)}.", style="bold yellow")


def say_names(patch: Patch) -> None:
    """Say whether the gate for names is on, where the patch has names."""
    if patch.names is not None:
        err.say(f"Gate for names: {patch.names_note}.", style="bold yellow" if patch.names_off else "")
    elif patch.names_off:
        err.say(f"Gate for names {patch.names_note}.", style="bold yellow")


def say_store_names(names: Mapping[str, SealedPart]) -> None:
    """Say how many names the requests of a store have, where there are any."""
    if names:
        from cagul.deletion.tables import names_text

        err.say(f"Gate for names of the store: {names_text(names)}.")
