"""What a verification did not ask, in words: the first lines of a request's output and of its certificate.

A caveat is a name, for programs, and a sentence. They follow from the facts that a verification keeps, so the
same figures always come with the same caveats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cagul.deletion.log import OUTCOMES, Entry
from cagul.deletion.request import Request
from cagul.evaluation.metrics.figures import share_text
from cagul.text.counts import counted

# actions that change the gate's templates, and so its threshold
GATE_CHANGES = ("enrolled", "revoked")


def caveats_of(request: Request, entries: Sequence[Entry] = ()) -> dict[str, str]:
    """The caveats of a request by name, the gravest first. ``entries`` are all of the store's log."""
    verification = request.verification
    if "hit_rate" not in verification:
        return {"not-verified": "Nothing was measured."}
    caveats = {}
    if request.state == "revoked":
        caveats["revoked"] = "The request was revoked: the figures were taken before, and hold no more."
    if "scope" not in verification:
        caveats["earlier-version"] = (
            "An earlier version of cagul measured this and kept no account of what it asked: verify again."
        )
    else:
        caveats |= _of_questions(verification, verification["scope"])
        caveats |= _of_pictures(verification, verification["scope"])
        caveats |= _of_names(request, verification, verification["scope"].get("names", {}))
        caveats |= _of_probe(request, verification)
    caveats |= _of_figures(verification)
    caveats |= _of_changes(request, entries)
    return caveats


def _of_questions(verification: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, str]:
    caveats = {}
    questions, without, asked = verification["questions"], scope["without_keywords"], scope["questions_asked"]
    if scope["built_in"]:
        why = (
            f"not the {scope['own_records']} record(s) about this person"
            if scope["own_records"]
            else "and no record is about this person"
            if scope["records_given"]
            else "because no records were given"
        )
        caveats["built-in-questions"] = f"Built-in questions were asked, {why}."
    if without:
        caveats["no-keywords"] = (
            f"{without} of {questions} questions have no keywords: there an answer counts as a leak only "
            "where it is the host's own, word for word. A fact told in other words is not seen."
        )
    if scope.get("unknown_language"):
        caveats["unknown-language"] = (
            f"{scope['unknown_language']} of {scope['asked']} answers of the host are in no language "
            "whose refusals cagul knows: unchanged they count as a leak, although they may refuse. Give "
            "records with "
            "keywords."
        )
    if scope.get("weak_keywords"):
        caveats["weak-keywords"] = (
            f"{scope['weak_keywords']} of {questions} questions have only keywords that tell no fact: "
            "they are in the question, in all of the person's answers, or in any sentence. "
            "There an answer that tells the fact may count as none."
        )
    if scope["missing_keywords"]:
        caveats["missing-keywords"] = (
            f"{scope['missing_keywords']} keyword(s) do not occur in the answer of their own record."
        )
    if asked < questions:
        caveats["questions-not-asked"] = (
            f"{questions - asked} of {questions} questions were not asked: {scope['asked']} of "
            f"{scope['pairs']:,} pairs of picture and question were drawn{_seeded(scope)}."
        )
    if scope["cut"]:
        caveats["answers-cut"] = (
            f"{scope['cut']} of {scope['asked']} answers of the host were cut before they told the fact."
        )
    return caveats


def _seeded(scope: Mapping[str, Any]) -> str:
    """How the pairs were drawn; nothing in verifications of an earlier version."""
    return f", at random with seed {scope['seed']}" if "seed" in scope else ""


def drawn_pairs(verification: Mapping[str, Any]) -> str:
    """How many pairs of picture and question the figures are of, and how they were drawn; "" where that was
    not kept.
    """
    scope = verification.get("scope", {})
    if "seed" not in scope:
        return ""
    pairs = f"Asked: {scope['asked']} of {scope['pairs']:,} pairs of picture and question"
    return f"{pairs}{_seeded(scope)}." if scope["asked"] < scope["pairs"] else f"{pairs}."


def _of_pictures(verification: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, str]:
    caveats = {}
    pictures, enrolled = verification["pictures"], scope["enrolled_pictures"]
    if enrolled >= pictures:
        caveats["enrolled-pictures-only"] = (
            f"No other picture of the person was tried than the {enrolled} enrolled one(s) and altered "
            "copies of them."
        )
    if scope["repeated_pictures"]:
        caveats["repeated-pictures"] = (
            f"{scope['repeated_pictures']} given picture(s) are copies of another one and were left out."
        )
    if scope["foreign_pictures"]:
        caveats["foreign-pictures"] = (
            f"{scope['foreign_pictures']} of {pictures} pictures are not recognised by this request, but by "
            "another one or by the base patch."
        )
    if numbers := scope.get("unlike_pictures"):
        caveats["unlike-pictures"] = (
            f"{'Pictures' if len(numbers) > 1 else 'Picture'} {', '.join(map(str, numbers))} of those given: "
            "unlike most of the others, by which the gate does not recognise them. Check that they show the "
            "same person."
        )
    if scope.get("fired_before"):
        caveats["hidden-before"] = (
            f"The gate fires on {scope['fired_before']} of {pictures} pictures without this request too, for "
            "the base patch's or another request's sake: there the figures do not show what it adds."
        )
    in_records = scope["records_pictures"]
    if in_records and not in_records["shared"]:
        caveats["records-pictures"] = (
            f"None of the pictures is in the person's records; this request recognises "
            f"{in_records['recognised']} of {in_records['tried']} pictures of the records."
        )
    return caveats


def _of_names(
    request: Request, verification: Mapping[str, Any], account: Mapping[str, int]
) -> dict[str, str]:
    caveats, names = {}, counted(request.names, "name is", "names are")
    if request.names and not account.get("questions"):
        why = (
            "the records ask for nothing but the name"
            if account.get("asked")
            else "the store keeps no names, so give them with --name or in the records"
        )
        caveats["names-not-asked"] = f"{names} enrolled, and no question by name was asked: {why}."
    elif account.get("asked", 0) < request.names:
        drawn = f"of {account['given']} given ones these were drawn"
        remedy = drawn if account["given"] > account["asked"] else "give the others with --name, too"
        caveats["names-not-all-asked"] = (
            f"{names} enrolled, and questions were asked by {account['asked']}: {remedy}."
        )
    if "absent" in verification.get("leak_name_stranger", {}):
        caveats["no-stranger"] = (
            "No name was asked beside somebody else's picture: give records of others, on whose pictures the "
            "gate is silent."
        )
    if account.get("not_enrolled"):
        caveats["names-not-enrolled"] = (
            f"{account['not_enrolled']} of the person's names in the records are not enrolled: add them with "
            f"`cagul requests add --id {request.id}`."
        )
    if account.get("namesakes"):
        caveats["namesakes"] = (
            f"{account['namesakes']} other(s) in the records, the store or the base patch are found by these "
            "names: questions that name them are answered as if about a stranger."
        )
    return caveats


def _of_probe(request: Request, verification: Mapping[str, Any]) -> dict[str, str]:
    """What the name probe of the base patch could not do."""
    probe = verification["scope"].get("name_probe")
    if probe == "off":
        return {
            "name-probe-off": "The base patch asks the host who a picture shows, but no name is open, so "
            "this part of the gate was off: the figures are of the other part alone."
        }
    if probe == "asked" and not request.names:
        return {
            "name-probe-without-name": "The base patch asks the host who a picture shows, and no name of "
            "this person is enrolled, so this part of the gate cannot find them: add one with "
            f"`cagul requests add --id {request.id} --name NAME`."
        }
    return {}


def _of_figures(verification: Mapping[str, Any]) -> dict[str, str]:
    caveats = {}
    if "value" not in verification["leak_fired"]:
        caveats["gate-never-fired"] = "The gate never fired while the questions were asked."
    host = verification["host_leak"]
    if host["value"] < 1:
        caveats["unknown-to-host"] = (
            f"Only {share_text(host).count} answers tell without the guard: in the others there was "
            "nothing to hide."
        )
    escalation = verification.get("escalation", {})
    if escalation.get("adopted"):
        caveats["trained-on-questions"] = (
            f"The encoder was fine-tuned on these pictures and questions, {escalation['steps']} steps, until "
            "they were no longer answered."
        )
    return caveats


def _of_changes(request: Request, entries: Sequence[Entry]) -> dict[str, str]:
    """What changed in the store after the measurement."""
    measured = [e.number for e in entries if e.request == request.id and e.action in OUTCOMES]
    if not measured:
        return {}
    changed = {
        e.request
        for e in entries
        if e.number > measured[-1] and e.request != request.id and e.action in GATE_CHANGES
    }
    if not changed:
        return {}
    return {
        "changed-since": (
            f"{len(changed)} other request(s) were enrolled or revoked after the measurement, which "
            "moves the gate's threshold: verify again for figures of today."
        )
    }
