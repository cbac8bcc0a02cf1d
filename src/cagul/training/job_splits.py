"""Who has which part in one training job: decided once, before anything is trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from cagul.config import Config
from cagul.data.records import Record, Splits
from cagul.errors import DataError
from cagul.guard.patch import Patch
from cagul.training.gate import hold_out_calibration


@dataclass(frozen=True)
class JobSplits:
    """``gate``: whom the gate enrols (forget), learns from (retain) and is calibrated on. ``encoder``: the
    same with the people whom the base patch forgets already among forget. ``calibrated_on`` says in words who
    the calibration people are.
    """

    gate: Splits
    encoder: Splits
    calibrated_on: str
    again: list[Record]  # of people whom the base patch forgets already

    @classmethod
    def of(
        cls, splits: Splits, config: Config, base: Patch | None = None, known: Collection[str] = ()
    ) -> JobSplits:
        """The parts of a job that adds to ``base``, which forgets the subjects ``known`` already.

        Raises DataError when nobody is left to add or to retain, or retain is too small to give somebody away
        for calibration.
        """
        splits = splits.for_training()
        again = [r for r in splits.retain + splits.forget if r.subject in known]
        new = replace(
            splits,
            retain=[r for r in splits.retain if r.subject not in known],
            forget=[r for r in splits.forget if r.subject not in known],
        )
        if base is not None:
            _require_somebody(new, base)
        gate = hold_out_calibration(new, config.training.seed)
        encoder = replace(gate, forget=gate.forget + again)
        return cls(gate, encoder, _calibrated_on(splits, base), again)


def _calibrated_on(splits: Splits, base: Patch | None) -> str:
    if splits.calibration:
        return "people apart"
    taken = "people taken out of retain, whom the host may know"
    if base is None:
        return taken
    return f"{taken} and the earlier gate may have learned from: the promise is not sure"


def _require_somebody(splits: Splits, base: Patch) -> None:
    """Raises DataError when the patch covers everybody who is to be added, or everybody who is to be
    retained.
    """
    for part, who, remedy in (
        (splits.forget, "to be added", "Nothing is to be done; evaluate the patch as it is."),
        (splits.retain, "of the others", "Add records of other people."),
    ):
        if not part:
            raise DataError(
                f"The patch of {base.facts.get('people', 'some')} people fires on everybody who is {who} "
                "already.",
                remedy,
                "add-people",
            )
