"""Rows → the inputs of a model, in this process or in another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from hf_leep.errors import TargetError
from hf_leep.inference.protocols import Collate, Row, Rows


def read_rows(rows: Rows, positions: Sequence[int], decoded: Mapping[int, Row]) -> list[Row]:
    """Read and decode some rows, but those that are decoded already.

    Args:
        rows: all rows.
        positions: which of them.
        decoded: position → row.

    Raises:
        TargetError: a row cannot be decoded.
    """
    missing = [position for position in positions if position not in decoded]
    read = dict(zip(missing, rows.read(missing), strict=True)) if missing else {}
    return [decoded[position] if position in decoded else read[position] for position in positions]


def collate_rows(
    rows: Rows, collate: Collate, positions: Sequence[int], read: Sequence[Row]
) -> dict[str, torch.Tensor]:
    """The inputs of some rows; a row that is no input for any model is named.

    Args:
        rows: all rows.
        collate: makes inputs.
        positions: which rows.
        read: these rows.

    Raises:
        TargetError: a row is no input for any model.
    """
    try:
        # A convolution may choose another algorithm for another layout: it is always the plain one.
        return {name: x.contiguous() for name, x in collate(read).items()}
    except TargetError:
        for position, row in zip(positions, read, strict=True):
            try:
                collate([row])
            except TargetError as error:
                raise TargetError(f"{rows.where(position)} – {error.marked()}") from None
        raise
