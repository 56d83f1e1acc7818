"""What a forward pass needs of the rows of a data set and of a loaded checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import nn

from hf_leep.arrays import Integers

Row: TypeAlias = Mapping[str, object]
"""The inputs of one row, by column."""
Collate: TypeAlias = Callable[[Sequence[Row]], dict[str, torch.Tensor]]
"""Makes the model's inputs from the rows of a batch; ``num_truncated`` and ``num_padded`` among them count rows."""


class Rows(Protocol):
    """The chosen rows of a data set; see `hf_leep.data.Rows`."""

    @property
    def offsets(self) -> Integers | None:
        """Number of examples before each row, and of all, ``[n + 1]``; None if each row is one example."""

    def lengths(self) -> Integers | None:
        """Length of each row's texts, ``[n]``; None for other inputs."""

    def __len__(self) -> int:
        """Number of rows n."""

    def where(self, index: int) -> str:
        """Which row it is, for messages."""

    def __getitem__(self, index: int, /) -> Row:
        """Decode a row."""

    def read(self, indices: Sequence[int], /) -> Sequence[Row]:
        """Decode some rows."""

    def for_processes(self, new_file: Callable[[int], str], /) -> Rows:
        """The same rows as other processes can open them; ``new_file`` gives the path of a file of so many bytes."""


class Classifier(Protocol):
    """A loaded checkpoint; see `hf_leep.models`."""

    @property
    def model(self) -> nn.Module:
        """The model; its outputs have ``logits``, ``[b, s]``."""

    @property
    def head(self) -> nn.Module | None:
        """The module whose input is the penultimate features ``[b, d]``; None if there is none."""

    @property
    def collate(self) -> Collate:
        """Makes the model's inputs."""

    @property
    def row_wise(self) -> bool:
        """Whether `collate` handles each row independently of the rest of its batch."""

    @property
    def source_labels(self) -> tuple[str, ...]:
        """Names of the classes of the head, in the order of its outputs."""

    @property
    def missing(self) -> Mapping[str, str]:
        """Why there are no ``probabilities`` or no ``features``."""

    @property
    def task(self) -> str:
        """Hub task that it was loaded for."""

    @property
    def processor(self) -> str:
        """The configuration of its processor."""

    @property
    def processor_backend(self) -> str | None:
        """Library that prepares images, ``pil`` or ``torchvision``; None for other inputs."""

    @property
    def max_length(self) -> int | None:
        """Number of tokens at which texts are cut, if there is a limit."""

    @property
    def max_seconds(self) -> float | None:
        """Seconds at which sounds are cut, if there is a limit."""
