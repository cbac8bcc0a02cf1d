"""The contracts, run on an actual host with one drawn picture: what tests prove of a family, asked of a
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from cagul.config import Config
from cagul.environment import versions
from cagul.errors import HostError, UnsupportedHost
from cagul.files import cache_folder, write_json
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch, host_card
from cagul.guard.token_edit import choose_tokens, rewrite
from cagul.host.families import PROVEN
from cagul.host.frozen import FrozenHost
from cagul.host.visual_tokens import without_pixels
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import MlpGate
from cagul.method.importance import resolve_layers

CONTRACTS = (
    "untouched tokens = host",
    "pictures apart",
    "off = host",
    "silent = host",
    "fired differs",
    "gradients reach tokens alone",
    "attention rows = eager",
    "edit applied once",
    "earlier turns hidden",
    "nothing left behind",
    "host unchanged",
)
QUESTION = "Who is this person?"
REPLIES = ("red blue red", "blue red blue")  # of like length
PROBE = Config.model_validate({"gate": {"kind": "mlp"}, "encoder": {"hidden": 16, "depth": 1}})
# of attention, and of logits by the largest
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
EDIT = 5.0  # deviation of the probe's last weights: an edit that no host overlooks


@dataclass(frozen=True)
class ContractVerdict:
    """What one contract showed on this host."""

    name: str
    passed: bool
    detail: str


def selfcheck(host: FrozenHost) -> list[ContractVerdict]:
    """Run every contract on ``host``, with untrained modules. An exception inside a contract is a failed
    verdict, not raised.

    The host is left as it was; torch's random state too. Raises HostError when the host's processor takes no
    picture with a question.
    """
    try:
        card, inputs = host_card(host), host.inputs([host.prompter.prompt(QUESTION)], [drawn_picture()])
    except Exception as error:
        raise HostError(
            f"{host.name} takes no picture with a question: {type(error).__name__}: {error}",
            "Check that the processor beside it is its own.",
            "host-load",
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        guards = {fires: Guard(host, _probe(host, card, fires), check=False) for fires in (True, False)}
    attention = host.language_model.config._attn_implementation

    def seam() -> tuple[bool, str]:
        tokens = host.encode_images(inputs)
        with torch.no_grad():
            through = host.model(**without_pixels(inputs), mm_encoder_outputs=host.features(tokens)).logits
        return _same(
            through,
            _logits(host.model, inputs),
            f"{sum(map(len, tokens))} visual tokens given back untouched",
        )

    def off() -> tuple[bool, str]:
        with guards[True].disabled():
            return _same(_logits(guards[True], inputs), _logits(host.model, inputs), "the disabled guard")

    def silent() -> tuple[bool, str]:
        return _same(
            _logits(guards[False], inputs), _logits(host.model, inputs), "the guard with a silent gate"
        )

    def fired() -> tuple[bool, str]:
        edited, bare = _logits(guards[True], inputs), _logits(host.model, inputs)
        chosen = [len(decision.chosen) for decision in guards[True].decisions]
        moved = (edited.float() - bare.float()).abs().max().item()
        return moved > 0, f"{sum(chosen)} visual tokens rewritten, logits moved by up to {moved:.3g}"

    def apart() -> tuple[bool, str]:
        alone = [
            host.encode_images(host.image_inputs([picture]))[0]
            for picture in (drawn_picture(), drawn_picture((96, 64)))
        ]
        pictures = [drawn_picture(), drawn_picture((96, 64))]
        both, beside = (
            host.encode_images(host.image_inputs(pictures)),
            host.encode_images(host.inputs([host.prompter.prompt(QUESTION, 2)], pictures)),
        )
        same = [len(t) for t in both] == [len(t) for t in alone] and len(beside) == 2
        return (
            same,
            f"two pictures give {len(both)} lists of visual tokens in two prompts, {len(beside)} in one",
        )

    def gradients() -> tuple[bool, str]:
        tokens = [token.clone().requires_grad_() for token in host.encode_images(inputs)]
        host.score(inputs, tokens, 1).float().logsumexp(-1).sum().backward()
        reached = sum(token.grad is not None and bool(token.grad.abs().sum() > 0) for token in tokens)
        taken = sum(p.grad is not None for p in host.model.parameters())
        return reached == len(
            tokens
        ) and not taken, f"{reached} of {len(tokens)} pictures and {taken} parameters got a gradient"

    def attention_rows() -> tuple[bool, str]:
        error = _attention_error(host, inputs)
        return error <= TOLERANCE[
            host.dtype
        ], f"recorded rows differ from eager attention by up to {error:.2g}"

    def once() -> tuple[bool, str]:
        tokens = host.encode_images(inputs)
        layout = host.layout(inputs, [len(t) for t in tokens], [0])
        probe = guards[True].patch
        with torch.no_grad():
            masks = choose_tokens(host, probe.config, probe.layers, inputs, tokens, layout, [0])
            edited = rewrite(probe.encoder, tokens, masks)
        same = 0
        for beams in (1, 2):
            options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "num_beams": beams}
            same += torch.equal(
                host.generate(inputs, edited, **options), guards[True].generate(**inputs, **options)
            )
        return (
            same == 2,
            f"{same} of 2 decodings (greedy, 2 beams) say what the host says from tokens edited once",
        )

    def earlier() -> tuple[bool, str]:
        said = [
            host.inputs([host.prompter.conversation(_turns(reply))], [drawn_picture()]) for reply in REPLIES
        ]
        fired, bare = (
            [_logits(answerer, one)[:, -1].float() for one in said] for answerer in (guards[True], host.model)
        )
        moved, host_moved = (float((one - other).abs().max()) for one, other in (fired, bare))
        told = f"another earlier answer moves the next logits by {moved:.3g} where the gate fires, the host's by {host_moved:.3g}"
        return moved <= TOLERANCE[host.dtype] * float(fired[0].abs().max()), told

    def left_behind() -> tuple[bool, str]:
        now = host.language_model.config._attn_implementation
        return now == attention, f"attention is {now}, was {attention}"

    def unchanged() -> tuple[bool, str]:
        now, learning = host.fingerprint(), sum(p.requires_grad for p in host.model.parameters())
        said = (
            f"SHA-256 {card['sha256'][:12]} before, {now[:12]} after; {learning} parameters take a gradient"
        )
        return now == card["sha256"] and not learning, said

    asked = (
        seam,
        apart,
        off,
        silent,
        fired,
        gradients,
        attention_rows,
        once,
        earlier,
        left_behind,
        unchanged,
    )
    return [_verdict(name, contract) for name, contract in zip(CONTRACTS, asked, strict=True)]


def load_host(
    source: str | Path, *, device: str | None = None, dtype: torch.dtype | str = "auto", **options: Any
) -> FrozenHost:
    """Load a host of any family that holds the contracts. One without a row is selfchecked, once for each
    fingerprint.

    Raises UnsupportedHost with the contracts that failed, and what ``FrozenHost.load`` raises.
    """
    host = FrozenHost.load(source, device=device, dtype=dtype, unproven=True, **options)
    require_contracts(host)
    return host


def require_contracts(host: FrozenHost) -> None:
    """Let a proven family pass; one that is not, or a quantised host, after a selfcheck, kept by the host's
    fingerprint.

    Raises UnsupportedHost with the contracts that failed.
    """
    if host.family.proven and not host.quantised:
        return
    kept = (
        cache_folder()
        / "selfcheck"
        / f"{host.fingerprint()}-{versions()['cagul']}-{versions()['transformers']}.json"
    )
    try:
        verdicts = [ContractVerdict(**found) for found in json.loads(kept.read_text("utf-8"))]
        if tuple(verdict.name for verdict in verdicts) != CONTRACTS:
            raise ValueError("other contracts were asked")
    except (OSError, ValueError, TypeError):
        verdicts = selfcheck(host)
        # a failure may be the moment's, such as memory that ran out
        if all(verdict.passed for verdict in verdicts):
            write_json(kept, [vars(verdict) for verdict in verdicts])
    failed = [f"{verdict.name} ({verdict.detail})" for verdict in verdicts if not verdict.passed]
    if failed or not verdicts:
        unproven = (
            "Quantised hosts are" if host.family.proven else f"The family {host.family.model_type!r} is"
        )
        raise UnsupportedHost(
            f"{unproven} not proven, and {host.name} fails "
            f"{len(failed)} of {len(verdicts)} contracts: {'; '.join(failed)}.",
            f"Take a host of a proven family: {', '.join(PROVEN)}.",
        )


def drawn_picture(size: tuple[int, int] = (96, 96)) -> Image.Image:
    """A small picture of a face, drawn here."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((24, 16, 72, 80), fill=(224, 172, 140))
    for box in ((36, 38, 42, 44), (54, 38, 60, 44), (40, 60, 56, 64)):
        pen.ellipse(box, fill=(60, 30, 30))
    return picture


def _turns(reply: str) -> list[dict[str, Any]]:
    said = [("user", QUESTION), ("assistant", reply), ("user", "What colour is it?")]
    turns: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in said
    ]
    turns[0]["content"].insert(0, {"type": "image"})
    return turns


def _verdict(name: str, contract: Callable[[], tuple[bool, str]]) -> ContractVerdict:
    try:
        return ContractVerdict(name, *contract())
    except Exception as error:  # noqa: BLE001 - a host may break in any way, and the next contract is still asked
        reason = (str(error).splitlines() or [""])[0]
        return ContractVerdict(name, False, f"{type(error).__name__}: {reason}")


def _probe(host: FrozenHost, card: dict, fires: bool) -> Patch:
    """An untrained patch whose gate always or never fires and whose encoder changes whatever it rewrites."""
    encoder = VisualTokenEncoder(host.width, PROBE.encoder.hidden, PROBE.encoder.depth)
    nn.init.normal_(encoder.change[-1].weight, std=EDIT)  # type: ignore[arg-type]
    layers = resolve_layers(PROBE.attention.layers, host.layers)
    threshold = float("-inf") if fires else float("inf")
    return Patch(PROBE, layers, MlpGate(host.width), encoder, threshold, card)


@torch.no_grad()
def _attention_error(host: FrozenHost, inputs: dict[str, Tensor]) -> float:
    """The largest difference between the rows that ``attend`` records and those of eager attention, over all
    layers.
    """
    tokens = host.encode_images(inputs)
    layout = host.layout(inputs, [len(t) for t in tokens], [0])
    rows, found = layout.questions[0].rows.to(host.device), {}
    host.capture_attention(
        inputs,
        tokens,
        layout,
        [0],
        frozenset(range(host.layers)),
        lambda layer, weights, _: found.update({layer: weights}),
    )
    config = host.language_model.config
    before = config._attn_implementation
    try:
        config._attn_implementation = "eager"
        own = host.model(
            **without_pixels(inputs), mm_encoder_outputs=host.features(tokens), output_attentions=True
        ).attentions
    finally:
        config._attn_implementation = before
    eager = [layer[..., -found[n].shape[-1] :] for n, layer in enumerate(own)]
    return max(
        float((found[n].float() - layer[:, :, rows].float()).abs().max()) for n, layer in enumerate(eager)
    )


@torch.no_grad()
def _logits(answerer: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return answerer(**inputs).logits


def _same(one: Tensor, other: Tensor, what: str) -> tuple[bool, str]:
    if torch.equal(one, other):
        return True, f"{what}: {one.numel():,} logits equal, bit for bit"
    differ = int((one != other).sum()) if one.shape == other.shape else one.numel()
    return False, f"{what}: {differ:,} of {one.numel():,} logits differ from the host's"
