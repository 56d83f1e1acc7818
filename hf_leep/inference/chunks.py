"""What the process that runs a model and those that make its inputs send each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

BlockName: TypeAlias = tuple[int, int]
"""The number of the process that made a block, and the number of the block there."""


@dataclass(frozen=True)
class StoredImage:
    """A decoded image in a block.

    Attributes:
        block: the block.
        offset: where its pixels start.
        column: the column that it is from.
        mode: Pillow's mode.
        size: width and height.
    """

    block: BlockName
    offset: int
    column: str
    mode: str
    size: tuple[int, int]

    @property
    def num_bytes(self) -> int:
        """Bytes of its pixels; all modes that are stored have 8 bits a channel."""
        return self.size[0] * self.size[1] * CHANNELS[self.mode]


CHANNELS: Mapping[str, int] = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}
"""The modes of images whose pixels say everything about them, and their numbers of channels."""


@dataclass(frozen=True)
class StoredTensor:
    """An input of the model in a block.

    Attributes:
        name: its name.
        dtype: numpy's name of its number type.
        shape: its shape.
        offset: where it starts.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class OpenRows:
    """The rows that the next chunks are from.

    Attributes:
        rows: the rows, pickled.
        budget: bytes of decoded images that the receiver may keep.
    """

    rows: bytes
    budget: int


@dataclass(frozen=True)
class OpenProcessor:
    """What makes inputs of the next chunks.

    Attributes:
        collate: rows → inputs, pickled.
    """

    collate: bytes


@dataclass(frozen=True)
class ShareBlock:
    """A block of another process; its file comes with the message."""

    name: BlockName
    size: int


@dataclass(frozen=True)
class ReleaseBlock:
    """The inputs in a block of the receiver have been copied: it may be used again."""

    number: int


@dataclass(frozen=True)
class MakeChunk:
    """A call for the inputs of some rows.

    Attributes:
        ticket: number of the chunk.
        positions: the rows.
        images: those of the rows that are decoded already.
    """

    ticket: int
    positions: Sequence[int]
    images: Mapping[int, StoredImage]


@dataclass(frozen=True)
class Ready:
    """The process has imported what it needs."""


@dataclass(frozen=True)
class Made:
    """The inputs of a chunk.

    Attributes:
        ticket: number of the chunk.
        block: number of the sender's block that holds them.
        tensors: where in the block.
        seconds: processor time that it took.
        images: images that were decoded for it, and are kept.
        new_blocks: number → size of the blocks that are new, in the order of the files that come with the message.
        dropped_blocks: numbers of blocks that the sender has given up.
    """

    ticket: int
    block: int
    tensors: Sequence[StoredTensor]
    seconds: float
    images: Mapping[int, StoredImage]
    new_blocks: Mapping[int, int]
    dropped_blocks: Sequence[int]


@dataclass(frozen=True)
class Failed:
    """A chunk could not be made.

    Attributes:
        ticket: number of the chunk.
        error: what was raised.
        unusable: whether rows or processor cannot be unpickled in another process, so that no chunk can be made there.
    """

    ticket: int
    error: Exception
    unusable: bool = False
