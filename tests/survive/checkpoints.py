"""Hostile checkpoints: what is done to a good one, by name."""

from __future__ import annotations

import base64
import json
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

Spoil: TypeAlias = Callable[[Path], object]
"""Takes the folder of a good checkpoint, and makes it a hostile one."""

CONFIG, PROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


def _write(file: str, content: bytes, folder: Path) -> None:
    path = folder / file
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _set(file: str, values: Mapping[str, object], folder: Path) -> None:
    stated = json.loads((folder / file).read_text())
    for key, value in values.items():
        stated.pop(key, None)
        if value is not ...:
            stated[key] = value
    _write(file, json.dumps(stated).encode(), folder)


def _config(**values: object) -> Spoil:
    return partial(_set, CONFIG, values)


def _processor(**values: object) -> Spoil:
    return partial(_set, PROCESSOR, values)


def _pipe(file: str, folder: Path) -> None:
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)


def _link(file: str, to: str, folder: Path) -> None:
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(to)


def _folder(file: str, folder: Path) -> None:
    (folder / file).unlink(missing_ok=True)
    (folder / file).mkdir()


def _sparse(file: str, size: int, folder: Path) -> None:
    _write(file, b"", folder)
    os.truncate(folder / file, size)


def _header(changed: Callable[[dict], object], folder: Path) -> None:
    """Change the header of the weights, and leave their numbers."""
    content = (folder / WEIGHTS).read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    changed(header)
    text = json.dumps(header).encode()
    _write(WEIGHTS, struct.pack("<Q", len(text)) + text + content[8 + size :], folder)


def _loaded(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS)


def _numbers(value: float, folder: Path) -> None:
    """Put the same number in the place of each of the weights."""
    import torch
    from safetensors.torch import save_file

    weights = {name: torch.full_like(w, value) if w.is_floating_point() else w for name, w in _loaded(folder).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _index(files: object, folder: Path) -> None:
    """Replace the weights by an index of them."""
    names = list(_loaded(folder))
    (folder / WEIGHTS).rename(folder / "elsewhere.safetensors")
    mapped = dict.fromkeys(names, files) if isinstance(files, str) else files
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": mapped})
    _write("model.safetensors.index.json", text.encode(), folder)


class _Payload:
    """What runs code when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self._marker,)


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    _write("pytorch_model.bin", pickle.dumps(_Payload(str(folder.parent / "payload-ran"))), folder)


def _code(folder: Path) -> None:
    """A model and a processor that are Python code of the repository."""
    _write("evil.py", f"import os; os.mkdir({str(folder.parent / 'payload-ran')!r})".encode(), folder)
    classes = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    _set(CONFIG, {"auto_map": classes, "model_type": "evil"}, folder)


REFUSED: Mapping[str, Spoil] = {
    # configurations of the wrong type
    **{
        f"config-{number}": partial(_write, CONFIG, content)
        for number, content in enumerate(
            (
                b"",
                b"[]",
                b"null",
                b'"text"',
                b"{",
                b"\xff\xfe",
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b"{}",
                b"1" * 10**6,
            )
        )
    },
    "depths-text": _config(depths="auto"),
    "depths-object": _config(depths={"a": 1}),
    "architectures-objects": _config(architectures=[{"a": 1}], num_channels=[]),
    "act-list": _config(hidden_act=["relu"]),
    "act-unknown": _config(hidden_act="os.system"),
    "channels-object": _config(num_channels={}),
    "labels-list": _config(id2label=[1, 2]),
    "labels-odd-keys": _config(id2label={"a": "b"}),
    "model-type-missing": _config(model_type=...),
    "model-type-unknown": _config(model_type="../../etc"),
    "model-type-list": _config(model_type=["resnet"]),
    "code": _code,
    "quantized": _config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
    # claims
    "labels-10-to-9": _config(num_labels=10**9, id2label=..., label2id=...),
    "labels-negative": _config(num_labels=-5, id2label=..., label2id=...),
    "labels-10-to-400": _config(num_labels=10**400, id2label=..., label2id=...),
    "channels-10-to-7": _config(num_channels=10**7),
    "sizes-10-to-9": _config(hidden_sizes=[10**9, 10**9]),
    "embedding-10-to-8": _config(embedding_size=10**8),
    "layers-10-to-6": _config(depths=[10**6, 10**6]),
    "picture-10-to-9": _processor(size={"shortest_edge": 10**9}),
    "picture-16000": _processor(size={"shortest_edge": 16_000}, crop_pct=None),
    "picture-30000": _processor(size={"height": 30_000, "width": 30_000}),
    "backbone-elsewhere": _config(backbone="stranger/backbone", use_timm_backbone=False, backbone_config=None),
    # processors
    "processor-empty": partial(_write, PROCESSOR, b""),
    "processor-list": partial(_write, PROCESSOR, b"[1]"),
    "processor-unknown": _processor(image_processor_type="os"),
    "processor-size-text": _processor(size="large"),
    "processor-size-negative": _processor(size={"shortest_edge": -5}),
    "processor-mean-long": _processor(image_mean=[0.5] * 1000, image_std=[0.5] * 1000),
    "processor-std-zero": _processor(image_std=[0, 0, 0], do_normalize=True),
    "processor-resample": _processor(resample=99),
    "processor-pipe": partial(_pipe, PROCESSOR),
    # weights
    "weights-empty": partial(_write, WEIGHTS, b""),
    "weights-short": lambda folder: os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 100),
    "weights-header-long": partial(_write, WEIGHTS, struct.pack("<Q", 2**63) + b"{}"),
    "weights-header-text": partial(_write, WEIGHTS, struct.pack("<Q", 4) + b"text"),
    "weights-of-1-tb": partial(_sparse, WEIGHTS, 2**40),
    "weights-overlap": partial(_header, lambda header: header["classifier.1.weight"].update(data_offsets=[0, 2**50])),
    "weights-other-shape": partial(_header, lambda header: header["classifier.1.weight"].update(shape=[16, 5])),
    "weights-other-names": partial(
        _header, lambda h: [h.update({f"x.{k}": h.pop(k)}) for k in list(h) if k[0] != "_"]
    ),
    "weights-header-twice": partial(_header, lambda header: header.update(again=dict(header["classifier.1.bias"]))),
    "weights-shape-huge": partial(_header, lambda header: header["classifier.1.bias"].update(shape=[2**62, 2**62])),
    "weights-nan": partial(_numbers, float("nan")),
    "weights-infinite": partial(_numbers, float("inf")),
    "weights-pickled": _pickled,
    "weights-pipe": partial(_pipe, WEIGHTS),
    "weights-device": partial(_link, WEIGHTS, "/dev/zero"),
    "weights-loop": partial(_link, WEIGHTS, WEIGHTS),
    "weights-nowhere": partial(_link, WEIGHTS, "nowhere"),
    "weights-folder": partial(_folder, WEIGHTS),
    "index-of-passwords": partial(_index, "/etc/passwd"),
    "index-above": partial(_index, "../good-000/model.safetensors"),
    "index-of-pickles": partial(_index, "pytorch_model.bin"),
    "index-of-code": partial(_index, "evil.py"),
    "index-list": partial(_index, [1, 2]),
    "index-name-long": partial(_index, "x" * 5000 + ".safetensors"),
    "index-name-zero": partial(_index, "x\0.safetensors"),
    "index-missing": partial(_index, "model-00001-of-00002.safetensors"),
    # other files
    "config-pipe": partial(_pipe, CONFIG),
    "config-device": partial(_link, CONFIG, "/dev/zero"),
    "config-folder": partial(_folder, CONFIG),
    "card-pipe": partial(_pipe, "README.md"),
    "card-device": partial(_link, "README.md", "/dev/zero"),
    "pipe-beside": partial(_pipe, "notes.txt"),
    "kernel-file-beside": partial(_link, "notes.txt", "/proc/self/status"),
    "kernel-file-as-processor": partial(_link, PROCESSOR, "/proc/self/mem"),
    "socket-beside": lambda folder: os.mknod(folder / "notes.txt", 0o140644),
}
"""What must become a row with a reason."""

_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{','.join([f'*{chr(97 + k)}'] * 9)}]\n" for k in range(12)
)

HARMLESS: Mapping[str, Spoil] = {
    "card-bomb": partial(_write, "README.md", f"---\n{_BOMB}license: mit\n---\n".encode()),
    "card-100-mb": partial(_write, "README.md", b"---\nlicense: mit\n---\n" + b"a" * 10**8),
    "card-python": partial(_write, "README.md", b"---\nlicense: !!python/object/apply:os.mkdir [payload-ran]\n---\n"),
    "card-types": partial(
        _write, "README.md", b"---\nlicense: {a: [1]}\ndatasets: 7\nmodel-index: [[], {results: x}]\ntags: {}\n---\n"
    ),
    "card-bytes": partial(_write, "README.md", b"---\n\xff\xfe\x00\n---\n"),
    "card-folder": partial(_folder, "README.md"),
    "attention-elsewhere": _config(_attn_implementation="stranger/kernel", attn_implementation="stranger/kernel"),
    "labels-names": _config(id2label={str(i): "\x1b[31m[bold]|`<script>\n" * 50 + str(i) for i in range(5)}),
    "labels-repeated": _config(id2label={str(i): "same" for i in range(5)}, label2id={"same": 0}),
    "weights-10-to-38": partial(_numbers, 1e38),
    "weights-zero": partial(_numbers, 0.0),
    "weights-tiny": partial(_numbers, 1e-38),
    "labels-of-3-mb": _config(id2label={str(i): "x" * 3_000_000 for i in range(5)}, label2id={}),
    "architectures-of-1-mb": _config(architectures=["x" * 10**6]),
    "card-names-long": partial(
        _write, "README.md", f"---\ndatasets: [&a {'y' * 10**5}{', *a' * 9999}]\nlicense: *a\n---\n".encode()
    ),
    "generation-deep": partial(_write, "generation_config.json", b"[" * 100_000),
    "name-not-utf-8": lambda folder: open(os.fsencode(folder) + b"/\xff.txt", "wb").close(),
    "text-of-1-tb-beside": partial(_sparse, "notes.txt", 2**40),
    "file-of-1-tb-beside": partial(_sparse, "notes.bin", 2**40),
}
"""What may be ranked, or be a row with a reason; it harms no other candidate."""


def _tokenizer(changes: Mapping[str, object], folder: Path) -> None:
    _set("tokenizer.json", changes, folder)


def _charsmap(content: bytes) -> Spoil:
    encoded = base64.b64encode(content).decode()
    return partial(_tokenizer, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": encoded}})


def _nested(depth: int) -> dict:
    """Normalizers in one another."""
    normalizer: dict = {"type": "Lowercase"}
    for _ in range(depth):
        normalizer = {"type": "Sequence", "normalizers": [normalizer]}
    return normalizer


def _template(token: int) -> dict:
    """A post-processor that puts a token before each text."""
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "X", "type_id": 0}}, text],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"X": {"id": "X", "ids": [token], "tokens": ["X"]}},
    }


_SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
TEXTS: Mapping[str, Spoil] = {
    "tokenizer-panic": _charsmap(struct.pack("<II", 4, 0xFFFFFC00) + b"abc"),
    "tokenizer-panic-at-load": _charsmap(b""),
    "tokenizer-gives-up": partial(_tokenizer, {"pre_tokenizer": _SPLIT}),
    "tokenizer-text": partial(_write, "tokenizer.json", b'"text"'),
    "tokenizer-deep": partial(_write, "tokenizer.json", b"[" * 100_000),
    "tokenizer-empty": partial(_write, "tokenizer.json", b"{}"),
    "tokenizer-large-ids": partial(
        _tokenizer,
        {
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"[UNK]": 10**6, "[CLS]": 2, "[SEP]": 3, "[PAD]": 0, "a": 2**31},
            }
        },
    ),
    "tokenizer-of-4-gb": partial(_sparse, "tokenizer.json", 2**32),
    "tokenizer-nested": partial(_tokenizer, {"normalizer": _nested(300)}),
    "tokenizer-template": partial(_tokenizer, {"post_processor": _template(4 * 10**9)}),
    "tokenizer-unknown-inputs": partial(_set, "tokenizer_config.json", {"model_input_names": ["evil"]}),
    "tokenizer-side": partial(_set, "tokenizer_config.json", {"padding_side": "up"}),
    "vocabulary-10-to-9": _config(vocab_size=10**9),
    "heads-zero": _config(num_attention_heads=0),
    "hidden-odd": _config(hidden_size=17),
    "positions-none": _config(max_position_embeddings=0),
}
"""Text classifiers that must become rows with reasons."""
