"""What a few questions look at: importance by layer, kept as rows so that a report can draw it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cagul.data.pictures import open_picture
from cagul.evaluation.questions import Item, Sample
from cagul.evaluation.result_rows import IMPORTANCE, ImportanceRow, importance_key
from cagul.evaluation.run_folder import Run
from cagul.host.frozen import FrozenHost


def importance_rows(host: FrozenHost, method: str, items: list[Item], run: Run, sample: Sample) -> None:
    """Append one row for each of a sample of questions that ``method`` was asked: importance (L, V) of the
    untouched host by layer.

    Of forget and of retain, of private and of visual questions, ``sample.importance`` each; of forget those
    on which the gate fired.
    """
    for split in ("forget", "retain"):
        for kind in ("private", "visual"):
            chosen = [
                item
                for item in items
                if item.split == split
                and item.record.kind == kind
                and (split == "retain" or run.rows.by_key[f"{method}/{item.asked.key}"]["fired"])
            ]
            for item in sample.draw(chosen, sample.importance, f"importance {split} {kind}"):
                if importance_key(item.asked.key) not in run.rows.by_key:
                    run.rows.append([_importance_row(host, item)])


def _importance_row(host: FrozenHost, item: Item) -> ImportanceRow:
    layers = importance_by_layer(host, item).tolist()
    return {
        "key": importance_key(item.asked.key),
        "method": IMPORTANCE,
        "split": item.split,
        "sort": item.sort,
        "kind": item.record.kind,
        "subject": item.record.subject,
        "picture": str(item.asked.picture),
        "question": item.asked.question,
        "layers": {str(n): [float(f"{value:.4g}") for value in row] for n, row in enumerate(layers)},
    }


@torch.no_grad()
def importance_by_layer(host: FrozenHost, item: Item) -> Float[Tensor, "L V"]:
    """Attention that each visual token receives from the question, averaged over heads, layer by layer.
    Source: method.md.
    """
    inputs = host.inputs(
        [host.prompter.prompt(item.asked.question)], [open_picture(item.asked.picture or "")]
    )
    prefill = host.prefill(inputs, host.encode_images(inputs))
    reading = Maps([prefill.layout.spans[0].columns])
    host.capture_attention(prefill, frozenset(range(host.layers)), reading.add)
    return reading.result()[0].mean(1)


class Maps:
    """Importance by layer and head, for the study: like ``Importance``, without its averages over them.
    Source: ours.
    """

    def __init__(self, columns: list[Int[Tensor, " V"]]):
        self.columns = columns
        self.layers: dict[int, list[Float[Tensor, "H V"]]] = {}

    def add(self, layer: int, weights: Float[Tensor, "B H R S"], valid: Bool[Tensor, "B R"]) -> None:
        share = valid.float() / valid.sum(1, keepdim=True)
        received = torch.einsum("bhrs,br->bhs", weights.float(), share)
        self.layers[layer] = [received[i][:, c.to(received.device)].cpu() for i, c in enumerate(self.columns)]

    def result(self) -> list[Float[Tensor, "L H V"]]:
        """One map an image, layers in ascending order."""
        return [
            torch.stack([self.layers[layer][i] for layer in sorted(self.layers)])
            for i in range(len(self.columns))
        ]
