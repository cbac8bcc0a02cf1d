"""A folder of people as a newcomer lays it out, one folder a person, and its records. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from cagul.data.fact_tables import NAME_QUESTION, Fact, naming, read_facts
from cagul.data.grouping import group_by
from cagul.data.person_names import asks_for_own_name
from cagul.data.picture_folders import FOLDERS_OF_GROUPS, PictureFiles, picture_files, why_no_person
from cagul.data.records import Record, validated
from cagul.data.sameness import same_contents
from cagul.data.sources import count_files, require_folders_of_people, require_pictures
from cagul.data.subjects import known_subjects, parse_subjects, require_one_spelling
from cagul.data.tables import Source
from cagul.errors import DataError
from cagul.files import read_text
from cagul.text.normal import name_key
from cagul.text.person_names import parse_names
from cagul.text.refusal_texts import refusals_in_language_of

GROUPS = FOLDERS_OF_GROUPS
STRANGERS = ("calibration", "unseen")  # groups of people about whom nothing has to be known
NAME_FILE, FACTS_FILE, FORGET_FILE, RECORDS_FILE = "name.txt", "facts.csv", "forget.txt", "records.jsonl"
BESIDE = "files beside the folders of people"
EACH_VIEW = 4  # of so many pictures of a person one is held out as a view


@dataclass
class Person:
    """One person's folder, or a single picture of a stranger: pictures, names and facts. ``unanswered`` are
    questions of facts.csv without an answer. ``apart``: others are called like the picture, so that its
    group and whole name tell it apart.
    """

    path: Path
    group: str
    files: PictureFiles
    names: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    apart: bool = False

    @property
    def subject(self) -> str:
        if self.path.is_dir():
            return self.path.name
        return f"{self.group} {self.path.name}" if self.apart else self.path.stem

    @property
    def pictures(self) -> list[Path]:
        """Pictures to learn from."""
        return self._divided()[0]

    @property
    def views(self) -> list[Path]:
        """Pictures that are held out: those in a folder ``views``, else one in EACH_VIEW."""
        return self._divided()[1]

    def _divided(self) -> tuple[list[Path], list[Path]]:
        found = self.files.pictures
        if self.files.views or self.group == "calibration":
            return found, self.files.views
        return [p for n, p in enumerate(found, 1) if n % EACH_VIEW], found[EACH_VIEW - 1 :: EACH_VIEW]

    def private_facts(self) -> list[Fact]:
        """What is known of the person: their facts, and their name where no fact is about it."""
        own = [fact for fact in self.facts if not fact.picture]
        asked = any(asks_for_own_name(fact.question) for fact in own)
        return ([] if asked or not self.names else [naming(self.names[0])]) + own


@dataclass
class PeopleFolder:
    """The people of a folder, what was left out of it, and whom its ``forget.txt`` names."""

    path: Path
    people: list[Person]
    source: Source
    listed: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> PeopleFolder:
        """Read a folder with one subfolder a person. Subfolders named as one of GROUPS sort people.

        Raises DataError for a folder that is none or holds no people, for one of a person without a picture,
        for two folders of one name, for one picture of two people, and for a name.txt, facts.csv or
        forget.txt that cannot be read.
        """
        if not folder.is_dir():
            raise DataError(
                f"{folder} is no folder." if folder.exists() else f"{folder} is not there.",
                "Give a folder that holds one folder a person, with pictures of them.",
                "people-folder",
            )
        source = Source()
        people = list(_people(folder, source))
        _require_people(folder, people)
        _tell_apart(people)
        require_one_spelling(((p.subject, n) for n, p in enumerate(people, 1)), folder, "folder")
        _require_own_pictures(people)
        for person in people:
            _read_person(person)
        listed = folder / FORGET_FILE
        subjects = [person.subject for person in people]
        named = known_subjects(parse_subjects(f"@{listed}", subjects), subjects) if listed.is_file() else []
        return cls(folder, people, source, named)

    def in_group(self, group: str) -> list[Person]:
        return [person for person in self.people if person.group == group]

    def forget(self, names: str = "") -> None:
        """Put people into the group forget: those that ``names`` lists, as ``--forget`` does, else those of
        forget.txt. Raises DataError for an unknown one and for a stranger.
        """
        subjects = [person.subject for person in self.people]
        chosen = known_subjects(parse_subjects(names, subjects), subjects) if names else self.listed
        for person in self.people:
            if person.subject in chosen and person.group in STRANGERS:
                raise DataError(
                    f"{person.subject!r} is to be forgotten and lies in the folder {person.group}.",
                    f"Move the folder out of {person.group}.",
                    "people-folder",
                )
            if person.subject in chosen:
                person.group = "forget"

    def missing(self) -> list[str]:
        """What is missing, a line each; nothing where the records can be made."""
        forget, retain = self.in_group("forget"), self.in_group("retain")
        lines = []
        if not forget:
            lines.append(
                "who is to be forgotten: --forget NAMES, one folder's name a line in "
                f"{self.path / FORGET_FILE}, or a folder {self.path / 'forget'} with theirs in it"
            )
        for person in forget:
            if not person.private_facts() and not person.names:
                named = own_file(person.path, NAME_FILE)
                lines.append(f"the name of {person.subject!r}: write it in {named}")
            if not any(not fact.picture for fact in person.facts):
                table = own_file(person.path, FACTS_FILE)
                lines.append(f"facts about {person.subject!r}: fill in {table}")
        needed = 3 if self.in_group("calibration") else 4
        if len(retain) < needed:
            lines.append(
                f"people to be kept: {len(retain)} of at least {needed}; folders of other people, whom "
                "nobody asked to forget"
            )
        return lines

    def records(self) -> list[Record]:
        """The records: each fact about each picture, names for the gate for names, refusals about strangers.
        Raises DataError for a fact about a picture that is not there.
        """
        questions = [f.question for p in self.people for f in p.private_facts()] or [NAME_QUESTION]
        refusal = refusals_in_language_of(questions)[0]
        return [record for person in self.people for record in _records(person, refusal)]


def _people(folder: Path, source: Source) -> Iterator[Person]:
    """The people below ``folder``, sorted, those in folders of GROUPS among them."""
    for entry in sorted(folder.iterdir()):
        group = entry.name.casefold()
        if entry.is_dir() and group in GROUPS:
            yield from _people_in(entry, group, source, folder)
    yield from _people_in(folder, "retain", source, folder)


def _people_in(folder: Path, group: str, source: Source, root: Path) -> Iterator[Person]:
    """A person for each folder in ``folder``; among strangers each picture beside them is one, too."""
    beside = PictureFiles()
    people = [Person(path, group, picture_files(path)) for path in _folders(folder, root, beside)]
    for person in people:
        _keep_own_tables(person)
    files = {person.path.name: person.files for person in people}
    require_folders_of_people(folder, files)
    if files:
        require_pictures(folder, files)
    if folder != root and group in STRANGERS:
        people += [Person(path, group, PictureFiles([path])) for path in _alone(folder, beside)]
    count_files(root, beside, source)
    for person in people:
        count_files(folder, person.files, source)
    yield from people


def _folders(folder: Path, root: Path, beside: PictureFiles) -> Iterator[Path]:
    """The folders of people in ``folder``; what lies beside them is left out by reason."""
    for entry in sorted(folder.iterdir()):
        if folder == root and (entry.name.casefold() in GROUPS or entry.name in (FORGET_FILE, RECORDS_FILE)):
            continue
        if not entry.is_dir():
            beside.left_out.setdefault(BESIDE, []).append(entry)
        elif why := why_no_person(entry):
            beside.left_out.setdefault(why, []).extend(sorted(p for p in entry.rglob("*") if p.is_file()))
        else:
            yield entry


def _alone(folder: Path, beside: PictureFiles) -> list[Path]:
    """The pictures beside the folders in ``folder``; the other files there are left out by reason."""
    found = picture_files(folder)
    beside.left_out.pop(BESIDE, None)
    for why, paths in found.left_out.items():
        if own := [path for path in paths if path.parent == folder]:
            beside.left_out.setdefault(why, []).extend(own)
    return [path for path in found.pictures if path.parent == folder]


def _keep_own_tables(person: Person) -> None:
    """Take name.txt and facts.csv out of what is left out."""
    own = {own_file(person.path, NAME_FILE), own_file(person.path, FACTS_FILE)}
    kept = {why: [p for p in paths if p not in own] for why, paths in person.files.left_out.items()}
    person.files.left_out = {why: paths for why, paths in kept.items() if paths}


def _require_people(folder: Path, people: list[Person]) -> None:
    """Raises DataError where there is nobody, or where the folder's one folder seems to hold the people."""
    if not people:
        pictures = len([p for p in picture_files(folder).pictures if p.parent == folder])
        raise DataError(
            f"{folder} holds no folders of people" + (f" and {pictures} pictures." if pictures else "."),
            f"Make one folder a person and put their pictures into it: {folder.name}/ANY NAME/picture.jpg.",
            "people-folder",
        )
    if len(people) == 1 and (below := _folders_of_pictures(people[0])) > 1:
        raise DataError(
            f"{folder} holds one folder, {people[0].subject!r}, which holds {below} folders of pictures and "
            "no picture of its own.",
            f"If each of them is a person, run `cagul init {people[0].path}`.",
            "people-folder",
        )


def _tell_apart(people: Sequence[Person]) -> None:
    """Give single pictures of strangers names of their own. Raises DataError for two folders of one name."""
    for same in group_by(people, lambda person: name_key(person.subject)).values():
        folders = [person for person in same if person.path.is_dir()]
        if len(folders) > 1 and len({person.subject for person in folders}) == 1:
            raise DataError(
                f"Two folders are named {folders[0].subject!r}: {folders[0].path} and {folders[1].path}.",
                "Put one person's pictures into one folder; give different people different names.",
                "people-folder",
            )
        for person in same if len(same) > 1 else []:
            person.apart = not person.path.is_dir()


def _folders_of_pictures(person: Person) -> int:
    """How many folders a person's pictures lie in; 0 where one lies in the person's folder itself."""
    if any(path.parent == person.path for path in person.files.pictures):
        return 0
    return len({path.relative_to(person.path).parts[0] for path in person.files.pictures})


def _require_own_pictures(people: Sequence[Person]) -> None:
    """Raises DataError for a picture that lies in two people's folders, also as a copy."""
    owner = {p: person for person in people for p in (*person.files.pictures, *person.files.views)}
    sizes = Counter(path.stat().st_size for path in owner)
    alike = [path for path in owner if sizes[path.stat().st_size] > 1]
    by_person: dict[str, list[Path]] = {}
    for path in alike:
        by_person.setdefault(owner[path].subject, []).append(path)
    for (one, these), (other, those) in combinations(by_person.items(), 2):
        if pairs := same_contents(these, those):
            raise DataError(
                f"One picture lies in the folders of {one!r} and {other!r}: {pairs[0][0]} and {pairs[0][1]}.",
                "Give every person pictures of their own; a picture shows one person.",
                "people-folder",
            )


def _read_person(person: Person) -> None:
    """Read a person's name.txt and facts.csv; without a name.txt the folder's name is taken if it is one."""
    if not person.path.is_dir():
        return
    named = own_file(person.path, NAME_FILE)
    if named.is_file():
        person.names = [" ".join(line.split()) for line in read_text(named).split("\n") if line.strip()]
    elif person.group not in STRANGERS and is_name(spoken := _spoken(person.subject)):
        person.names = [spoken]
    if (table := own_file(person.path, FACTS_FILE)).is_file():
        person.facts, person.unanswered = read_facts(table)


def own_file(folder: Path, name: str) -> Path:
    """Where a person's file lies, or would lie: Facts.CSV is facts.csv where that is not there."""
    exact = folder / name
    same = [path for path in folder.iterdir() if path.name.casefold() == name and path.is_file()]
    return exact if exact in same or not same else min(same)


def _spoken(subject: str) -> str:
    """A folder's name as a name is said: Ada Finch of Ada_Finch and of "Finch, Ada"."""
    words = " ".join(subject.replace("_", " ").split())
    surname, comma, first = words.partition(", ")
    return f"{first} {surname}" if comma and "," not in first else words


def is_name(text: str) -> bool:
    """Whether a text may be somebody's name, of one word too: no number, sign or common word."""
    if any(map(str.isdigit, text)):
        return False
    try:
        parse_names([text], one_word=True)
    except DataError:
        return False
    return True


def full_names(names: Sequence[str]) -> list[str]:
    """Those of the names that the gate for names can take."""
    kept = []
    for name in names:
        try:
            parse_names([name])
        except DataError:
            continue
        kept.append(name)
    return kept


def _records(person: Person, refusal: str) -> Iterator[Record]:
    """A person's records. Of strangers, and of people of whom nothing is known, what is asked is refused."""
    private = person.private_facts() or [Fact(NAME_QUESTION, refusal)]
    own = {"subject": person.subject, "views": person.views, "group": _record_group(person)}
    if person.group not in STRANGERS:
        own["names"] = full_names(person.names)
    for fact in private:
        for image in person.pictures:
            yield validated(fact.fields() | own | {"image": image}, str(person.path))
    for fact in person.facts:
        if fact.picture:
            image = person.path / fact.picture
            if image not in person.pictures:
                raise DataError(
                    f"{person.path / FACTS_FILE}: {fact.picture!r} is no picture that {person.subject!r} is "
                    "learned from.",
                    "Name a picture of the folder that is not held out.",
                    "facts",
                )
            yield validated(fact.fields() | own | {"image": image, "views": []}, str(person.path))


def _record_group(person: Person) -> str:
    if person.group in STRANGERS:
        return person.group
    return "known" if person.private_facts() else "stranger"
