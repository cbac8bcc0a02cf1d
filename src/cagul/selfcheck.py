"""The contracts, run on an actual host with one drawn picture: what tests prove of a family, asked of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from cagul.config import Config
from cagul.errors import HostError
from cagul.guard import Guard
from cagul.host.frozen import FrozenHost
from cagul.method.attention import resolve_layers
from cagul.method.discriminator import MlpGate
from cagul.method.encoder import VisualTokenEncoder
from cagul.patch import Patch, host_card

QUESTION = "Who is this person?"
PROBE = Config.model_validate({"gate": {"kind": "mlp"}, "encoder": {"hidden": 16, "depth": 1}})
EDIT = 5.0  # deviation of the probe's last weights: an edit that no host overlooks


@dataclass(frozen=True)
class Verdict:
    """What one contract showed on this host."""

    name: str
    passed: bool
    detail: str


def selfcheck(host: FrozenHost) -> list[Verdict]:
    """Run every contract on ``host``, with untrained modules. An exception inside a contract is a failed verdict, not raised.

    The host is left as it was; torch's random state too. Raises HostError when the host's processor takes no picture with a
    question.
    """
    try:
        card, inputs = host_card(host), host.inputs([host.prompter.prompt(QUESTION)], [drawn_picture()])
    except Exception as error:
        raise HostError(f"{host.name} takes no picture with a question: {type(error).__name__}: {error}",
                        "Check that the processor beside it is its own.", "host-load") from error  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        guards = {fires: Guard(host, _probe(host, card, fires), check=False) for fires in (True, False)}
    attention = host.language_model.config._attn_implementation

    def seam() -> tuple[bool, str]:
        tokens = host.look(inputs)
        given = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            through = host.model(**given, mm_encoder_outputs=host.features(tokens)).logits
        return _same(through, _logits(host.model, inputs), f"{sum(map(len, tokens))} visual tokens given back untouched")

    def off() -> tuple[bool, str]:
        with guards[True].disabled():
            return _same(_logits(guards[True], inputs), _logits(host.model, inputs), "the disabled guard")

    def silent() -> tuple[bool, str]:
        return _same(_logits(guards[False], inputs), _logits(host.model, inputs), "the guard with a silent gate")

    def fired() -> tuple[bool, str]:
        edited, bare = _logits(guards[True], inputs), _logits(host.model, inputs)
        chosen = [len(decision.chosen) for decision in guards[True].decisions]
        moved = (edited.float() - bare.float()).abs().max().item()
        return moved > 0, f"{sum(chosen)} visual tokens rewritten, logits moved by up to {moved:.3g}"

    def left_behind() -> tuple[bool, str]:
        now = host.language_model.config._attn_implementation
        return now == attention, f"attention is {now}, was {attention}"

    def unchanged() -> tuple[bool, str]:
        now, learning = host.fingerprint(), sum(p.requires_grad for p in host.model.parameters())
        said = f"SHA-256 {card['sha256'][:12]} before, {now[:12]} after; {learning} parameters take a gradient"
        return now == card["sha256"] and not learning, said

    contracts: dict[str, Callable[[], tuple[bool, str]]] = {
        "untouched tokens = host": seam, "off = host": off, "silent = host": silent, "fired differs": fired,
        "nothing left behind": left_behind, "host unchanged": unchanged,
    }  # fmt: skip
    return [_verdict(name, contract) for name, contract in contracts.items()]


def drawn_picture() -> Image.Image:
    """A small picture of a face, drawn here."""
    picture = Image.linear_gradient("L").resize((96, 96)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((24, 16, 72, 80), fill=(224, 172, 140))
    for box in ((36, 38, 42, 44), (54, 38, 60, 44), (40, 60, 56, 64)):
        pen.ellipse(box, fill=(60, 30, 30))
    return picture


def _verdict(name: str, contract: Callable[[], tuple[bool, str]]) -> Verdict:
    try:
        return Verdict(name, *contract())
    except Exception as error:  # noqa: BLE001 - a host may break in any way, and the next contract is still asked
        reason = (str(error).splitlines() or [""])[0]
        return Verdict(name, False, f"{type(error).__name__}: {reason}")


def _probe(host: FrozenHost, card: dict, fires: bool) -> Patch:
    """An untrained patch whose gate always or never fires and whose encoder changes whatever it rewrites."""
    encoder = VisualTokenEncoder(host.width, PROBE.encoder.hidden, PROBE.encoder.depth)
    nn.init.normal_(encoder.change[-1].weight, std=EDIT)  # type: ignore[arg-type]
    layers = resolve_layers(PROBE.attention.layers, host.layers)
    threshold = float("-inf") if fires else float("inf")
    return Patch(PROBE, layers, MlpGate(host.width), encoder, threshold, card)


@torch.no_grad()
def _logits(answerer: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return answerer(**inputs).logits


def _same(one: Tensor, other: Tensor, what: str) -> tuple[bool, str]:
    if torch.equal(one, other):
        return True, f"{what}: {one.numel():,} logits equal, bit for bit"
    differ = int((one != other).sum()) if one.shape == other.shape else one.numel()
    return False, f"{what}: {differ:,} of {one.numel():,} logits differ from the host's"
