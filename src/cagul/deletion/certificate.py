"""The certificate of a request: what was asked, done and measured, signed with Ed25519. No names, answers or
pictures.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import cagul
from cagul.deletion.caveats import caveats_of, drawn_pairs
from cagul.deletion.coverage import coverage_text, covered
from cagul.deletion.keys import keep_secret
from cagul.deletion.log import OUTCOMES, canonical
from cagul.deletion.request import Request, now
from cagul.deletion.store import Store
from cagul.errors import StoreError, UsageError, reason
from cagul.evaluation.metrics.figures import CONFIDENCE, share_text
from cagul.files import os_errors_as_write_errors, parse_json, read_secret, write_json, write_text

FORMAT = 2  # 2: with the caveats of the verification
FIELDS = {"algorithm", "digests", "value", "public_key"}  # of the signature
ALGORITHM = "Ed25519 over the SHA-256 of each part"
LIMITS = (
    "It hides, it does not erase: the host's weights are unchanged and still hold what they have learned. "
    "Whoever holds the weights can leave the guard out.",
    "The figures are of the pictures and questions that were tried, at the time that the log entry names. "
    "Requests that came later raise the gate's threshold; verify again for figures of today.",
)
NO_NAMES = "Questions without a picture are not covered, so neither are questions by name: none is enrolled."
BY_NAME = (
    "A question that says an enrolled name is answered as if about a stranger. Questions without a picture "
    "that say another name, or describe the person, are not covered."
)
NAME_PROBE = (
    "Where the gate's score lets a picture pass, the host is asked who it shows, and an enrolled name in its "
    "answer fires. The promised rate of false alarms is of the scores alone."
)
FIGURES = {
    "hit_rate": "pictures on which the gate fires",
    "hit_rate_probe": "of these by the name alone that the host says",
    "leak": "answers that still tell",
    "leak_fired": "the same where the gate fires",
    "leak_known": "the same where the host tells without the guard",
    "host_leak": "answers that tell without the guard",
    "refusal_rate": "answers that refuse",
    "hit_rate_name": "questions by name in which the name is found",
    "leak_name": "answers to questions by name, without a picture, that still tell",
    "host_leak_name": "the same without the guard",
    "leak_name_stranger": "answers to questions by name beside a stranger's picture that still tell",
    "host_leak_name_stranger": "the same without the guard",
}


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path`` (PEM, mode 0600), made if there is none; its public key is written beside it as
    ``path``.pub.

    Raises StoreError when the file holds no Ed25519 key, UsageError when others can read it.
    """
    keep_secret(
        path,
        lambda: Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    try:
        key = serialization.load_pem_private_key(read_secret(path), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StoreError(
            f"{path} holds no signing key: {reason(error)}.",
            "Name a file that is not there yet: a key is made.",
            "certificate",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(
            f"{path} holds another kind of key than Ed25519.",
            "Name a file that is not there yet: a key is made.",
            "certificate",
        )
    write_text(path.with_name(f"{path.name}.pub"), _public_pem(key.public_key()))
    return key


def _public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def certify(store: Store, name: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The signed document of a request.

    Raises StoreError for an unknown request, or when the store's log is not whole.
    """
    request = store.request(name)
    store.require_whole()
    log = store.entries()
    entries = [entry for entry in log if entry.request == name]
    document: dict[str, Any] = {
        "certificate": {"format": FORMAT, "issued": now(), "cagul": cagul.__version__},
        "caveats": caveats_of(request, log),
        "covers": covered(request),
        "request": {
            "id": request.id,
            "asked": "that the model stops telling about a person when shown one"
            + (" or asked by name" if request.names else ""),
            "at": request.at,
            "state": request.state,
            "escalated": request.escalated,
        },
        "host": store.facts["host"],
        "patch": {"sha256": store.facts["patch"]},
        "verification": request.verification,
        "history": [{"at": e.at, "action": e.action, "entry": e.number, "hash": e.hash} for e in entries],
        "limits": [*LIMITS, BY_NAME if request.names else NO_NAMES, *_probe_limits(request)],
    }
    digests = {part: hashlib.sha256(canonical(content)).hexdigest() for part, content in document.items()}
    signature = base64.b64encode(key.sign(canonical(digests))).decode()
    return document | {
        "signature": {
            "algorithm": ALGORITHM,
            "digests": digests,
            "value": signature,
            "public_key": _public_pem(key.public_key()),
        }
    }


def _probe_limits(request: Request) -> list[str]:
    """What a name probe that was asked adds to the limits."""
    asked = request.verification.get("scope", {}).get("name_probe") == "asked"
    return [NAME_PROBE] if asked else []


def page_of(path: Path) -> Path:
    """Where the page to read beside the document in ``path`` is: named .md in place of .json, or after any
    other name. Raises UsageError where it is that document, or ``path`` names a folder.
    """
    if not path.name or path.is_dir():
        raise UsageError(f"{path} names a folder, not a file.", "Name a file in it, such as r-1.json.")
    if path.suffix.lower() == ".md":
        raise UsageError(
            f"{path} is where the page to read is written, beside the JSON document.", "Name it .json, say."
        )
    return path.with_suffix(".md") if path.suffix.lower() == ".json" else path.with_name(f"{path.name}.md")


def require_free(path: Path) -> None:
    """Raises UsageError where the document of ``path`` or its page would be written over another file."""
    for place in (path, page_of(path)):
        with os_errors_as_write_errors(place):
            taken = place.exists()
        if taken:
            raise UsageError(
                f"{place} is already there.", "Give another --out, or write over it with --force."
            )


def write_certificate(path: Path, document: dict[str, Any]) -> Path:
    """The JSON document, and a page to read beside it, named .md; where that page is. Raises UsageError for a
    path of .md.
    """
    page = page_of(path)
    write_json(path, document)
    write_text(page, as_markdown(document))
    return page


def outcome_of(verification: Mapping[str, Any]) -> str:
    """The word of a verification, where it keeps one, and why; "" where nothing was measured."""
    return ": ".join(str(verification[part]) for part in ("verdict", "why") if part in verification)


def rows_of(verification: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The figures in words: what, count, share and its bounds. Those that are absent are left out."""
    rows = []
    for name, meaning in FIGURES.items():
        if "value" in verification.get(name, {}):
            text = share_text(verification[name])
            unjudged = verification[name].get("unjudged", 0)
            aside = f" ({unjudged} not judged)" if unjudged else ""
            rows.append((meaning + aside, text.count, text.value, text.bounds))
    return rows


def measured_on(history: Iterable[tuple[str, str]]) -> str:
    """When the figures of a request were taken, from its history's dates and actions; "" where they never
    were.
    """
    return next((at for at, action in reversed(list(history)) if action in OUTCOMES), "")


def as_markdown(document: dict[str, Any]) -> str:
    """The page to read. It begins with what is covered, the state and what was not asked. Figures are headed
    by the date of their measurement: the state may be another since.
    """
    request, host, verification = document["request"], document["host"], document["verification"]
    outcome = "Outcome before it was revoked" if request["state"] == "revoked" else "Outcome"
    lines = [
        f"# Certificate of request {request['id']}",
        f"{coverage_text(document['covers'])}  " if "covers" in document else "",  # and a line break
        f"State: **{request['state']}**"
        + (", after a short finetune of the encoder." if request["escalated"] else "."),
        f"{outcome}: {outcome_of(verification)}." if "why" in verification else "Nothing was verified.",
        "",
        *(f"- {caveat}" for caveat in document.get("caveats", {}).values()),
        "",
        f"Question on {request['at']}: {request['asked']}.",
        "",
        "| | |",
        "|---|---|",
        f"| host | {host['model_type']}, width {host['width']}, SHA-256 {host['sha256']} |",
        f"| base patch | SHA-256 {document['patch']['sha256']} |",
        "",
        *_figure_lines(document),
        "| when | what | log entry | hash |",
        "|---|---|---|---|",
        *(f"| {e['at']} | {e['action']} | {e['entry']} | {e['hash'][:16]} |" for e in document["history"]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in document["limits"]),
        "",
        f"Signed ({document['signature']['algorithm']}): `{document['signature']['value']}`. Issued "
        f"{document['certificate']['issued']}. The JSON document beside this page is what is signed.",
        "",
    ]
    return "\n".join(lines)


def _figure_lines(document: dict[str, Any]) -> list[str]:
    rows = rows_of(document["verification"])
    if not rows:
        return []
    measured = measured_on((e["at"], e["action"]) for e in document["history"])
    head = [f"| measured on {measured} | count | share | {CONFIDENCE} |", "|---|---|---|---|"]
    drawn = drawn_pairs(document["verification"])
    return [*head, *(f"| {' | '.join(row)} |" for row in rows), "", *([drawn, ""] if drawn else [])]


def check_certificate(path: Path, public_key: Path) -> dict[str, Any]:
    """The document of a certificate that is valid under ``public_key``, of this format or an earlier one.

    Raises StoreError that says which parts were changed, that another key signed it or a newer cagul made it,
    or which file cannot be read.
    """
    key = _public_key(public_key)
    document, signature = _signed_document(path)
    value = base64.b64decode(signature["value"])
    try:
        if not isinstance(key, Ed25519PublicKey) or signature["public_key"] != _public_pem(key):
            raise InvalidSignature
        key.verify(value, canonical(signature["digests"]))
    except InvalidSignature:
        raise StoreError(
            f"{path} is not valid: its signature is not of this key, or was changed, or its list of digests "
            "was.",
            "Check that the public key is the issuer's.",
            "certificate",
        ) from None
    changed = _changed_parts(document, signature["digests"])
    if changed:
        raise StoreError(
            f"{path} is not valid: {', '.join(changed)} changed after it was signed.",
            "Ask the issuer for the certificate.",
            "certificate",
        )
    made = document["certificate"]["format"]
    if made not in range(1, FORMAT + 1):
        raise StoreError(
            f"{path} has format {made}, this cagul reads up to {FORMAT}.", "Upgrade cagul.", "certificate"
        )
    return document


def _public_key(path: Path) -> object:
    try:
        return serialization.load_pem_public_key(_read(path, "Give the .pub file of the signing key."))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StoreError(
            f"{path} holds no public key: {reason(error)}.",
            "Give the .pub file of the signing key.",
            "certificate",
        ) from None


def _signed_document(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of a certificate and its signature. Raises StoreError for what is no certificate, or can be
    read in two ways.
    """
    try:
        document = parse_json(_read(path, "Give the JSON file of `export-certificate`.").decode())
        canonical(document)  # finds numbers that are none
        signature = document.pop("signature")
        value = base64.b64decode(signature["value"], validate=True)
        if (
            set(signature) != FIELDS
            or signature["algorithm"] != ALGORITHM
            or not isinstance(signature["digests"], dict)
            or base64.b64encode(value).decode() != signature["value"]  # written in the one way
        ):
            raise ValueError("its signature has other fields or another algorithm than cagul writes")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path} is no certificate: {reason(error)}.",
            "Give the JSON file of `export-certificate`.",
            "certificate",
        ) from None
    return document, signature


def _changed_parts(document: dict[str, Any], digests: dict[str, str]) -> list[str]:
    """Parts that are not what was signed, or were not signed, in order of their names."""
    now_digests = {part: hashlib.sha256(canonical(content)).hexdigest() for part, content in document.items()}
    return sorted(
        part for part in now_digests.keys() | digests.keys() if now_digests.get(part) != digests.get(part)
    )


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what = (
            f"There is no file {path}."
            if isinstance(error, FileNotFoundError)
            else f"Cannot read {path}: {reason(error)}."
        )
        raise StoreError(what, remedy, "certificate") from None
