"""What unlearning takes on paper: FLOPs, bytes and hours of a 7 B host on one 80 GB GPU, and of the sizes
that steps.py measures.

    python benchmarks/on_paper.py [--steps-json FILE] [--json]

FILE is what `benchmarks/steps.py --json` printed; the model's growth is then set beside the measured one.
Source: ours, by counting.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from typing import Any

from cagul.config import Config

# of an H100's dense bfloat16 FLOP/s; an assumption, nobody has run this on a GPU
UTILISATION, PEAK = 0.4, 989e12
QUESTION, ANSWER = 40, 20  # tokens beside the picture


@dataclass(frozen=True)
class Shape:
    """A Llama-like language model behind ``visual`` tokens; ``bytes`` a number takes."""

    width: int
    layers: int
    inner: int
    vocabulary: int
    visual: int = 576
    bytes: int = 2

    @property
    def body(self) -> int:
        """Parameters of the layers: attention and gated MLP, without embeddings."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.inner)

    @property
    def length(self) -> int:
        return self.visual + QUESTION + ANSWER

    def forward(self) -> float:
        """FLOPs of one row: two a parameter and token, attention's products, logits of the answer alone."""
        attention = 2 * self.layers * self.length**2 * self.width  # causal: half of 4 L S^2 D
        return 2 * self.body * self.length + attention + 2 * self.vocabulary * self.width * ANSWER

    def step(self) -> float:
        """FLOPs of forward and of the backward pass to the visual tokens: no gradient of a weight is
        computed.
        """
        return 2 * self.forward()

    def kept(self) -> int:
        """Bytes of activations kept for a backward pass to inputs through frozen linear layers.

        Such a layer keeps nothing of its own. Norms keep their input (2 D) and its scale, attention queries,
        keys, values and output (4 D), the gated MLP both inner products and the activation (3 F).
        """
        return self.layers * self.length * (6 * self.width + 3 * self.inner) * self.bytes

    def kept_checkpointing(self) -> int:
        """The same with gradient checkpointing: the input of every layer, and one layer whole."""
        return self.layers * self.length * self.width * self.bytes + self.kept() // self.layers


LLAVA_7B = Shape(4096, 32, 11008, 32064)


def bench_shape(width: int, layers: int) -> Shape:
    """The language model of steps.py's host."""
    return Shape(width, layers, 8 * width // 3, 32000, bytes=4)


def job(shape: Shape) -> dict[str, Any]:
    """The default training on FIUBench's forget5 (20 people, 20 questions, one picture each; 336 retained
    people).
    """
    settings = Config().training
    rows = settings.steps * settings.batch
    masks = rows  # at most one probe of the first quarter for each row
    probe = shape.forward() / 4
    refused, kept = rows / 2, rows / 2
    flops = refused * shape.step() + kept * (shape.step() + shape.forward()) + masks * probe
    return {
        "rows": rows,
        "flops": flops,
        "hours": flops / (UTILISATION * PEAK) / 3600,
        "weights_gb": (shape.body + 2 * shape.vocabulary * shape.width) * shape.bytes / 1e9,
        "tokens_gb": (20 * 3 + 336 * 3) * shape.visual * shape.width * shape.bytes / 1e9,
        "kept_gb_a_row": shape.kept() / 1e9,
        "kept_gb_a_row_checkpointing": shape.kept_checkpointing() / 1e9,
    }


def exponent(pairs: list[tuple[float, float]]) -> float:
    """Slope of log y over log x between the first and the last pair."""
    (x0, y0), (x1, y1) = pairs[0], pairs[-1]
    return math.log(y1 / y0) / math.log(x1 / x0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps-json", type=argparse.FileType())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "llava_7b": {
            "body": LLAVA_7B.body,
            "forward_tflop": LLAVA_7B.forward() / 1e12,
            "step_tflop": LLAVA_7B.step() / 1e12,
            **job(LLAVA_7B),
        }
    }
    if options.steps_json:
        sizes = json.load(options.steps_json)["sizes"]
        shapes = [bench_shape(size["width"], size["layers"]) for size in sizes]
        report["checked"] = [
            {
                "width": size["width"],
                "layers": size["layers"],
                "gflop": shape.step() / 1e9,
                "gflop_per_second": shape.step() / 1e9 / size["seconds"]["encoder"],
                "kept_mib": shape.kept() / 2**20,
                "measured_mib": size["peak_mib"]["encoder"],
            }
            for size, shape in zip(sizes, shapes, strict=True)
        ]
        bodies = [shape.body for shape in shapes]
        report["exponents"] = {
            "flops": exponent([(b, s.step()) for b, s in zip(bodies, shapes, strict=True)]),
            "seconds": exponent([(b, s["seconds"]["encoder"]) for b, s in zip(bodies, sizes, strict=True)]),
            "kept": exponent([(b, s.kept()) for b, s in zip(bodies, shapes, strict=True)]),
            "measured_memory": exponent(
                [(b, s["peak_mib"]["encoder"]) for b, s in zip(bodies, sizes, strict=True)]
            ),
        }
    if options.json:
        print(json.dumps(report))
        return
    for name, value in report["llava_7b"].items():
        print(f"{name}: {value:.4g}")
    for row in report.get("checked", []):
        print({key: round(value, 2) for key, value in row.items()})
    print({key: round(value, 3) for key, value in report.get("exponents", {}).items()})


if __name__ == "__main__":
    main()
