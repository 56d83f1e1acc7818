"""Leave rows out of a pass that cannot be read, or on which the model fails, up to a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from hf_leep.errors import CandidateError, TargetError, one_line, option
from hf_leep.inference.bad_rows import check_number
from hf_leep.inference.loader import Loader
from hf_leep.inference.protocols import Classifier
from hf_leep.inference.sampler import Batch
from hf_leep.records import BadRow


class Skipping:
    """Finds the bad rows of a pass. Only a batch that fails is looked at row by row.

    Args:
        most: number of rows that may be left out.
        loader: reads the rows.
        classifier: makes inputs of them.
    """

    def __init__(self, most: int, loader: Loader, classifier: Classifier) -> None:
        self._most, self._loader, self._classifier = most, loader, classifier
        self._found: list[BadRow] = []

    @property
    def found(self) -> tuple[BadRow, ...]:
        """The rows that were left out so far."""
        return tuple(self._found)

    def readable(
        self, batch: Batch, make: Callable[[Batch], dict[str, torch.Tensor]]
    ) -> tuple[Batch, dict[str, torch.Tensor]]:
        """Make the inputs of a batch, without the rows that are no input.

        Args:
            batch: the batch.
            make: makes its inputs.

        Returns:
            The batch of the other rows, which may be none, and its inputs.

        Raises:
            TargetError: more rows than may be left out are no input.
        """
        try:
            return batch, make(batch)
        except TargetError as error:
            if not self._most:
                raise TargetError(
                    f"{error.marked()}; {option('skip_bad_rows')} N leaves out up to N such rows"
                ) from None
            good = [position for position in batch.positions.tolist() if self._can_be_read(position)]
            if len(good) == len(batch.positions):
                raise
        rest = replace(batch, positions=np.array(good, dtype=np.int64))
        return rest, self._loader.batch(self._classifier, good) if good else {}

    def runnable(
        self,
        batch: Batch,
        error: Exception,
        run: Callable[[Mapping[str, torch.Tensor], Batch], Mapping[str, torch.Tensor]],
        fatal: Callable[[Exception], bool],
    ) -> tuple[Batch, dict[str, torch.Tensor]]:
        """Run the rows of a batch one by one, without those on which the model fails.

        Args:
            batch: a batch on which it fails.
            error: the error.
            run: runs a batch.
            fatal: whether an error says nothing about the row.

        Returns:
            The batch of the other rows, which may be none, and its outputs.

        Raises:
            CandidateError: it fails on more rows than may be left out.
            Exception: the error, if no row may be left out, or none of them fails by itself.
        """
        if not self._most or fatal(error):
            raise error
        good, outputs = [], []
        for position in batch.positions:
            one = replace(batch, positions=np.array([position]))
            try:
                inputs = self._loader.batch(self._classifier, [int(position)])
                inputs.pop("num_truncated", None)
                inputs.pop("num_padded", None)
                outputs.append(run(inputs, one))
                good.append(int(position))
            except Exception as problem:  # a model may raise anything
                if fatal(problem):
                    raise
                name = self._loader.where(int(position))
                self._add(BadRow(int(position), name, _reason(problem, name), unreadable=False))
        if len(good) == len(batch.positions):
            raise error
        rest = replace(batch, positions=np.array(good, dtype=np.int64))
        names = outputs[0] if outputs else {}
        return rest, {name: torch.cat([of_row[name] for of_row in outputs]) for name in names}

    def _can_be_read(self, position: int) -> bool:
        try:
            self._loader.batch(self._classifier, [position])
        except TargetError as error:
            name = self._loader.where(position)
            reason = one_line(error).removeprefix(name).lstrip("– ")
            self._add(BadRow(position, name, reason))
            return False
        return True

    def _add(self, row: BadRow) -> None:
        self._found.append(row)
        alike = [other for other in self._found if other.unreadable == row.unreadable]
        check_number(alike, self._most)


def _reason(error: Exception, name: str) -> str:
    if isinstance(error, CandidateError):
        return one_line(error).removesuffix(f", first on {name}")
    return f"the forward pass failed ({one_line(error)})"
