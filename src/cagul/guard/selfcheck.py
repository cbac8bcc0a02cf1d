"""The contracts, run on an actual host with one drawn picture. The tests run the same contracts on every
proven family.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from cagul.config import Config
from cagul.environment import versions
from cagul.errors import HostError, UnsupportedHost, reason
from cagul.files import cache_folder, digest, parse_json, write_json
from cagul.guard.guard import Guard
from cagul.guard.patch import Patch, host_card
from cagul.guard.token_edit import choose_tokens, rewrite
from cagul.host.families import PROVEN
from cagul.host.frozen import FrozenHost
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
PROVEN_ATTENTION = "sdpa"  # what the contract tests of every family run under
QUESTION = "Who is this person?"
REPLIES = ("red blue red", "blue red blue")  # of like length
PROBE = Config.model_validate({"gate": {"kind": "mlp"}, "encoder": {"hidden": 16, "depth": 1}})
# absolute for attention; for logits, relative to the largest
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
EDIT = 5.0  # deviation of the probe's last weights: large enough to change any host's logits


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
    contracts = _Contracts(host)
    return [_verdict(name, contract) for name, contract in zip(CONTRACTS, contracts.all(), strict=True)]


class _Contracts:
    """The contracts of one host: each method returns whether it holds and what it has shown."""

    def __init__(self, host: FrozenHost):
        self.host = host
        try:
            self.card = host_card(host)
            self.inputs = host.inputs([host.prompter.prompt(QUESTION)], [drawn_picture()])
        except Exception as error:
            raise HostError(
                f"{host.name} takes no picture with a question: {type(error).__name__}: {reason(error)}.",
                "Check that the processor beside it is its own.",
                "host-load",
            ) from error
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.firing, self.silent = (
                Guard(host, _probe(host, self.card, fires), check=False) for fires in (True, False)
            )
        self.attention = _attention(host)

    def all(self) -> tuple[Callable[[], tuple[bool, str]], ...]:
        """In the order of ``CONTRACTS``."""
        return (
            self.untouched_tokens,
            self.pictures_apart,
            self.off_is_host,
            self.silent_is_host,
            self.fired_differs,
            self.gradients,
            self.attention_rows,
            self.applied_once,
            self.earlier_turns,
            self.nothing_left_behind,
            self.host_unchanged,
        )

    def untouched_tokens(self) -> tuple[bool, str]:
        host, tokens = self.host, self.host.encode_images(self.inputs)
        with torch.no_grad():
            output = host.model(**host.without_pixels(self.inputs), mm_encoder_outputs=host.features(tokens))
        what = f"{sum(map(len, tokens))} visual tokens given back untouched"
        return _same(output.logits, _logits(host.model, self.inputs), what)

    def pictures_apart(self) -> tuple[bool, str]:
        host, pictures = self.host, [drawn_picture(), drawn_picture((96, 64))]
        alone = [host.encode_images(host.image_inputs([picture]))[0] for picture in pictures]
        two_prompts = host.encode_images(host.image_inputs(pictures))
        one_prompt = host.encode_images(host.inputs([host.prompter.prompt(QUESTION, 2)], pictures))
        same = [len(t) for t in two_prompts] == [len(t) for t in alone] and len(one_prompt) == 2
        lists = f"{len(two_prompts)} lists of visual tokens in two prompts, {len(one_prompt)} in one"
        return same, f"two pictures give {lists}"

    def off_is_host(self) -> tuple[bool, str]:
        with self.firing.disabled():
            off = _logits(self.firing, self.inputs)
        return _same(off, _logits(self.host.model, self.inputs), "the disabled guard")

    def silent_is_host(self) -> tuple[bool, str]:
        silent = _logits(self.silent, self.inputs)
        return _same(silent, _logits(self.host.model, self.inputs), "the guard with a silent gate")

    def fired_differs(self) -> tuple[bool, str]:
        fired, own = _logits(self.firing, self.inputs), _logits(self.host.model, self.inputs)
        chosen = [len(decision.chosen) for decision in self.firing.decisions]
        moved = (fired.float() - own.float()).abs().max().item()
        return moved > 0, f"{sum(chosen)} visual tokens rewritten, logits moved by up to {moved:.3g}"

    def gradients(self) -> tuple[bool, str]:
        host = self.host
        tokens = [token.clone().requires_grad_() for token in host.encode_images(self.inputs)]
        host.score(self.inputs, tokens, 1).float().logsumexp(-1).sum().backward()
        reached = sum(token.grad is not None and bool(token.grad.abs().sum() > 0) for token in tokens)
        taken = sum(p.grad is not None for p in host.model.parameters())
        holds = reached == len(tokens) and not taken
        return holds, f"{reached} of {len(tokens)} pictures and {taken} parameters got a gradient"

    def attention_rows(self) -> tuple[bool, str]:
        error = _attention_error(self.host, self.inputs)
        holds = error <= TOLERANCE[self.host.dtype]
        return holds, f"recorded rows differ from eager attention by up to {error:.2g}"

    def applied_once(self) -> tuple[bool, str]:
        host, inputs, probe = self.host, self.inputs, self.firing.patch
        tokens = host.encode_images(inputs)
        with torch.no_grad():
            masks = choose_tokens(host, probe.config, probe.layers, host.prefill(inputs, tokens, [0]))
            edited = rewrite(probe.encoder, tokens, masks)
        same = 0
        for beams in (1, 2):
            options = host.generation_options(4, stops=False)
            options["generation_config"].num_beams = beams
            own = host.generate(inputs, edited, **options)
            same += torch.equal(own, self.firing.generate(**inputs, **options))
        return (
            same == 2,
            f"{same} of 2 decodings (greedy, 2 beams) say what the host says from tokens edited once",
        )

    def earlier_turns(self) -> tuple[bool, str]:
        host = self.host
        prompts = [
            host.inputs([host.prompter.conversation(_turns(reply))], [drawn_picture()]) for reply in REPLIES
        ]
        fired, own = (
            [_logits(answerer, inputs)[:, -1].float() for inputs in prompts]
            for answerer in (self.firing, host.model)
        )
        moved, host_moved = (float((one - other).abs().max()) for one, other in (fired, own))
        shown = (
            f"another earlier answer moves the next logits by {moved:.3g} where the gate fires, "
            f"the host's by {host_moved:.3g}"
        )
        return moved <= TOLERANCE[host.dtype] * float(fired[0].abs().max()), shown

    def nothing_left_behind(self) -> tuple[bool, str]:
        now = _attention(self.host)
        return now == self.attention, f"attention is {now}, was {self.attention}"

    def host_unchanged(self) -> tuple[bool, str]:
        before, now = self.card["sha256"], self.host.fingerprint()
        learning = sum(p.requires_grad for p in self.host.model.parameters())
        shown = f"SHA-256 {before[:12]} before, {now[:12]} after; {learning} parameters take a gradient"
        return now == before and not learning, shown


def load_host(
    source: str | Path, *, device: str | None = None, dtype: torch.dtype | str = "auto", **options: Any
) -> FrozenHost:
    """Load a host of any family that holds the contracts. One that is not proven is selfchecked, once for
    each fingerprint and everything else that ``verdict_key`` names.

    Raises UnsupportedHost with the contracts that failed, and what ``FrozenHost.load`` raises.
    """
    host = FrozenHost.load(source, device=device, dtype=dtype, unproven=True, **options)
    require_contracts(host)
    return host


def require_contracts(host: FrozenHost) -> None:
    """Let a host pass as it is where the contract tests cover it: a proven family over a proven language
    model, under PROVEN_ATTENTION, not quantised. Any other one passes after a selfcheck. What passed is kept
    in the cache folder and not asked again for the same ``verdict_key``.

    Raises UnsupportedHost with the contracts that failed.
    """
    if host.family.proven and not host.quantised and _attention(host) == PROVEN_ATTENTION:
        return
    kept = cache_folder() / "selfcheck" / f"{host.fingerprint()}-{digest(verdict_key(host))}.json"
    try:
        verdicts = [ContractVerdict(**verdict) for verdict in parse_json(kept.read_text("utf-8"))]
        if tuple(verdict.name for verdict in verdicts) != CONTRACTS:
            raise ValueError("other contracts were asked")
    except (OSError, ValueError, TypeError):
        verdicts = selfcheck(host)
        # a failure may be temporary, such as memory that ran out
        if all(verdict.passed for verdict in verdicts):
            write_json(kept, [vars(verdict) for verdict in verdicts])
    failed = [f"{verdict.name} ({verdict.detail})" for verdict in verdicts if not verdict.passed]
    if failed or not verdicts:
        raise UnsupportedHost(
            f"{_what_is_unproven(host)} not proven, and {host.name} fails "
            f"{len(failed)} of {len(verdicts)} contracts: {'; '.join(failed)}.",
            f"Take a host of a proven family under the attention {PROVEN_ATTENTION!r}: {', '.join(PROVEN)}.",
        )


def _attention(host: FrozenHost) -> str:
    """The attention implementation that the language model runs now, by its name in transformers."""
    return host.language_model.config._attn_implementation


def verdict_key(host: FrozenHost) -> dict[str, Any]:
    """What a verdict belongs to beside the weights: the attention that ran, the models, the processor's
    template, the device, the libraries and the code that was checked.
    """
    installed = versions()
    return {
        "attention": _attention(host),
        "family": host.family.model_type,
        "text_model": host.language_model.config.model_type,
        "quantised": host.quantised,
        "device": host.device.type,
        "chat_template": str(host.processor.chat_template),
        "versions": {name: installed[name] for name in ("cagul", "torch", "transformers", "accelerate")},
        "source": _source_digest(),
    }


@cache
def _source_digest() -> str:
    """SHA-256 over the package's modules that a verdict depends on: a version alone does not change while the
    package is worked on.
    """
    package, content = Path(__file__).parent.parent, hashlib.sha256()
    for folder in ("guard", "host", "method"):
        for path in sorted((package / folder).glob("*.py")):
            content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def _what_is_unproven(host: FrozenHost) -> str:
    if host.family.proven and host.quantised:
        return "Quantised hosts are"
    if host.family.proven:
        return f"{host.family.title} under the attention {_attention(host)!r} is"
    if host.family.model_type in PROVEN:
        text_model = host.language_model.config.model_type
        return f"{host.family.title} over the language model {text_model!r} is"
    return f"The family {host.family.model_type!r} is"


def drawn_picture(size: tuple[int, int] = (96, 96)) -> Image.Image:
    """A small picture of a face, drawn here."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((24, 16, 72, 80), fill=(224, 172, 140))
    for box in ((36, 38, 42, 44), (54, 38, 60, 44), (40, 60, 56, 64)):
        pen.ellipse(box, fill=(60, 30, 30))
    return picture


def _turns(reply: str) -> list[dict[str, Any]]:
    exchange = [("user", QUESTION), ("assistant", reply), ("user", "What colour is it?")]
    turns: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in exchange
    ]
    turns[0]["content"].insert(0, {"type": "image"})
    return turns


def _verdict(name: str, contract: Callable[[], tuple[bool, str]]) -> ContractVerdict:
    try:
        return ContractVerdict(name, *contract())
    except Exception as error:  # noqa: BLE001 - a host may break in any way, and the next contract is still asked
        return ContractVerdict(name, False, f"{type(error).__name__}: {reason(error)}")


def _probe(host: FrozenHost, card: dict, fires: bool) -> Patch:
    """An untrained patch whose gate always or never fires and whose encoder changes whatever it rewrites."""
    encoder = VisualTokenEncoder(host.width, PROBE.encoder.hidden, PROBE.encoder.depth)
    nn.init.normal_(encoder.change[-1].weight, std=EDIT)  # type: ignore[arg-type]
    layers = resolve_layers(PROBE.attention.layers, host.layers)
    threshold = float("-inf") if fires else float("inf")
    return Patch(PROBE, layers, MlpGate(host.width), encoder, threshold, card)


@torch.no_grad()
def _attention_error(host: FrozenHost, inputs: dict[str, Tensor]) -> float:
    """The largest difference, over all layers, between the rows that ``capture_attention`` records and those
    of eager attention.
    """
    tokens = host.encode_images(inputs)
    prefill = host.prefill(inputs, tokens, [0])
    rows = prefill.layout.questions[0].rows.to(host.device)
    recorded: dict[int, Tensor] = {}

    def record(layer: int, weights: Tensor, _: Tensor) -> None:
        recorded[layer] = weights

    host.capture_attention(prefill, frozenset(range(host.layers)), record)
    config = host.language_model.config
    before = config._attn_implementation
    try:
        config._attn_implementation = "eager"
        given = host.without_pixels(inputs) | {"mm_encoder_outputs": host.features(tokens)}
        own = host.model(**given, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
    eager = [layer[..., -recorded[n].shape[-1] :] for n, layer in enumerate(own)]
    return max(
        float((recorded[n].float() - layer[:, :, rows].float()).abs().max()) for n, layer in enumerate(eager)
    )


@torch.no_grad()
def _logits(answerer: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return answerer(**inputs).logits


def _same(one: Tensor, other: Tensor, what: str) -> tuple[bool, str]:
    if torch.equal(one, other):
        return True, f"{what}: {one.numel():,} logits equal, bit for bit"
    differ = int((one != other).sum()) if one.shape == other.shape else one.numel()
    return False, f"{what}: {differ:,} of {one.numel():,} logits differ from the host's"
