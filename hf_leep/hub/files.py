"""Which files of a checkpoint are used, and whether its weights are complete."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from hf_leep.errors import CandidateError, one_line, option
from hf_leep.temporary import is_of_kernel

# One set of weights: a single file, or an index and its shards; safetensors first.
_SAFE = ("model.safetensors", "model.safetensors.index.json", re.compile(r"model-\d+-of-\d+\.safetensors"))
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", re.compile(r"pytorch_model-\d+-of-\d+\.bin"))
# The files at the top level of a checkpoint that configure the model, its processor and its tokenizer.
_SMALL = re.compile(
    r"(config|preprocessor_config|video_preprocessor_config|processor_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|image_processor_config)\.json|vocab\.\w+|merges\.txt|bpe\.codes|[\w.-]+\.(model|tiktoken|spm)|README\.md"
)
POOLING = "1_Pooling/config.json"  # the pooling of sentence-transformers: the only small file that is in a subfolder
ADAPTER = "adapter_config.json"  # where peft is installed, transformers applies the adapter that it describes
WEIGHTS = (".safetensors", ".bin")  # endings of the files that `choose` may return as weights
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt")  # what a Trainer leaves beside weights
_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_INDEX = 64 * 2**20  # bytes
_MAX_SMALL = 256 * 2**20  # bytes of a configuration or a tokenizer; the largest have about 35 MB
MAX_BESIDE = 2**30
"""Bytes of any other file beside the weights, beyond which it is no part of a processor."""
CARD = "README.md"
# Endings of files with weights of any library.
ALL_WEIGHTS = (*_PICKLES, ".h5", ".msgpack", ".gguf", ".onnx", ".safetensors")


def choose(files: Sequence[str], allow_pickle: bool, folder: Path | None) -> list[str]:
    """Choose the files to use: one set of weights and the small files beside it.

    Args:
        files: the names of all files.
        allow_pickle: accept pickled weights where there are no safetensors.
        folder: the folder that holds the files, to read the shards from the index of the weights; None where only the
            names are known.

    Raises:
        CandidateError: there are no weights of an accepted format, an adapter lies beside them, or the
            index is damaged.
    """
    top = [f for f in files if "/" not in f]
    for single, index, shard in (_SAFE, _PICKLED) if allow_pickle else (_SAFE,):
        if single in top:
            weights = [single]
        elif index in top:
            shards = _shards(folder, index, single) if folder is not None else [f for f in top if shard.fullmatch(f)]
            weights = [index, *shards]
        else:
            continue
        if ADAPTER in top:
            raise CandidateError(
                f"{ADAPTER} lies beside full weights, and nothing says whether they contain that adapter: if they do, "
                f"remove {ADAPTER}; if not, merge it into them (merge_and_unload of peft)"
            )
        return sorted({*weights, *(f for f in files if _SMALL.fullmatch(f) or f == POOLING)})
    raise CandidateError(what_it_holds(files, allow_pickle) or "no weights: model.safetensors is missing")


_OTHER_FORMATS = (
    (".gguf", "GGUF", "which were quantised for llama.cpp: take the original checkpoint"),
    (".onnx", "ONNX", "which were exported for another runtime: take the original checkpoint"),
    (".openvino", "OpenVINO", "which were exported for another runtime: take the original checkpoint"),
    (
        ".h5",
        "TensorFlow",
        "which are not read: convert them with transformers 4 (from_tf=True), or take a checkpoint with safetensors",
    ),
    (
        ".msgpack",
        "Flax",
        "which are not read: convert them with transformers 4 (from_flax=True), or take a checkpoint with safetensors",
    ),
)


def what_it_holds(files: Sequence[str], allow_pickle: bool) -> str | None:
    """What a folder holds instead of weights that hf_leep loads, and what to do; None if that is not known.

    Args:
        files: the names of its files, and of its folders with a slash at the end.
        allow_pickle: whether pickled weights are accepted.
    """
    top = [f for f in files if "/" not in f]
    if not {*_SAFE[:2]}.isdisjoint(top):
        return None
    pickles = [f for f in top if f.endswith(_PICKLES) and f not in _NO_WEIGHTS and not f.startswith("adapter_")]
    if pickles and not allow_pickle and ADAPTER not in top:
        return (
            f"pickled weights only ({', '.join(pickles[:3])}); hf_leep loads safetensors: convert it first, "
            f"or allow them with {option('hub.allow_pickle')}"
        )
    for suffix, kind, advice in _OTHER_FORMATS:
        others = (f"{kind.lower()}/", f"{kind.lower()}_model.xml")  # folders, and files of several
        if held := [f for f in files if f.endswith(suffix) or f in others]:
            return f"only {kind} weights ({held[0]}), {advice}"
    if "adapter_model.safetensors" in top or ADAPTER in top:
        return "an adapter without its model: merge it into the model (merge_and_unload of peft), and give that"
    if steps := {int(found[1]) for f in files if (found := re.match(r"checkpoint-(\d+)/", f))}:
        return f"no weights at its top; it holds the training checkpoint checkpoint-{max(steps)}: give that folder"
    if "training_args.bin" in top:
        return "training_args.bin without weights: save the model with trainer.save_model(), and give its folder"
    return None


def _shards(folder: Path, index: str, single: str) -> list[str]:
    if (folder / index).stat().st_size > _MAX_INDEX:
        raise CandidateError(f"{index} is longer than {_MAX_INDEX >> 20} MB")
    try:
        names = sorted(set(json.loads((folder / index).read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CandidateError(f"{index} is damaged ({one_line(error)})") from None
    for name in names:
        # An index must not point outside its folder, nor to weights of another format.
        if not isinstance(name, str) or Path(name).suffix != Path(single).suffix:
            raise CandidateError(f"{index} names {name!r}, which is not a {Path(single).suffix} file")
        if Path(name).name != name or not _is_file(folder / name):
            raise CandidateError(f"{index} names {name[:200]!r}, which is not in the folder")
    return names


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def is_too_long(size: int | None) -> bool:
    """Whether a file beside the weights is longer than any that people publish.

    Args:
        size: its size in bytes; None where it is not known.
    """
    return size is not None and size > _MAX_SMALL


def check_length(file: str, size: int | None) -> None:
    """Check that a configuration or a tokenizer is no longer than any that people publish: reading takes its memory.

    Args:
        file: its name.
        size: its size in bytes; None where it is not known.

    Raises:
        CandidateError: it is longer.
    """
    if size is not None and is_too_long(size):
        raise CandidateError(f"{file} is {size / 2**20:,.0f} MB long; hf_leep reads up to {_MAX_SMALL >> 20} MB of it")


def check_pointer(folder: Path, file: str) -> None:
    """Check that a file is not the pointer that Git LFS leaves where the file itself was not fetched.

    Args:
        folder: the checkpoint's folder.
        file: the name of the file in it.

    Raises:
        CandidateError: it is one.
    """
    with contextlib.suppress(OSError), (folder / file).open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise CandidateError(
                f"{file} is a Git LFS pointer, not the file itself: run git lfs pull in the folder of the clone"
            )


def check_kinds(folder: Path) -> None:
    """Check that what transformers may open in a checkpoint's folder are files, not pipes, devices or sockets.

    Reading a pipe waits for ever, and some devices and files of the kernel have no end.

    Args:
        folder: the checkpoint's folder.

    Raises:
        CandidateError: something is neither a file nor a folder.
    """
    for path in [*folder.iterdir(), *(folder / Path(POOLING).parent).glob("*"), *folder.glob("*chat_templates/*")]:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise CandidateError(f"{path.relative_to(folder)} is a pipe, a device or a socket, not a file: remove it")
        if is_of_kernel(path):
            raise CandidateError(f"{path.relative_to(folder)} leads to a file of the kernel (/proc, /sys): remove it")


def check_weights(folder: Path, file: str) -> dict[str, Sequence[int]]:
    """Check that a safetensors file is complete: the offsets in its header must cover it to the last byte.

    Args:
        folder: the checkpoint's folder.
        file: the name of the file in it.

    Returns:
        The shape of each weight in the file.

    Raises:
        CandidateError: it is not complete, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with (folder / file).open("rb"), safe_open(folder / file, framework="np") as weights:
            return {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118 - not a dict
    except PermissionError:
        raise CandidateError(f"{file} cannot be read: permission denied") from None
    except (SafetensorError, OSError) as error:
        raise CandidateError(f"{file} is truncated or damaged ({one_line(error)})") from None
