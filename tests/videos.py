"""Small clips, and small real video models with random weights."""

import datasets
import numpy as np
import torch
from PIL import Image

LENGTHS = (4, 9, 3)  # frames of a clip; the models take 4


def save_watchers(folder):
    """Save the models: name → folder."""
    import transformers as t
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {"image_size": 8, "num_frames": 4, "initializer_range": 0.5}
    of_mae = {**small, "patch_size": 4, "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1}
    of_mae |= {"decoder_num_attention_heads": 1, "decoder_intermediate_size": 8}
    size = {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}
    vivit = {**small, "tubelet_size": [2, 4, 4], "num_labels": 3}
    for name, make, config, processor in (
        ("videomae", t.VideoMAEForVideoClassification, t.VideoMAEConfig(num_labels=5, **of_mae), None),
        (
            "timesformer",
            t.TimesformerForVideoClassification,
            t.TimesformerConfig(num_labels=4, patch_size=4, **small),
            None,
        ),
        ("vivit", t.VivitForVideoClassification, t.VivitConfig(**vivit), t.VivitImageProcessor(**size)),
        ("headless", t.VideoMAEForPreTraining, t.VideoMAEConfig(**of_mae), None),
    ):
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(folder / name)
        (processor or VideoMAEImageProcessorPil(**size)).save_pretrained(folder / name)
    return {folder.name: folder for folder in folder.iterdir()}


def frames():
    """15 clips of 3 classes, each list of frames a picture that grows brighter: arrays ``[frames, 10, 12, 3]``."""
    generator = np.random.default_rng(7)
    clips = []
    for k in range(15):
        length = LENGTHS[k % len(LENGTHS)]
        noise = generator.integers(0, 60, (length, 10, 12, 3))
        clips.append((noise + 40 * (k % 3) + 8 * np.arange(length)[:, None, None, None]).astype(np.uint8))
    return clips


def as_lists():
    """The clips as lists of pictures."""
    features = datasets.Features({"frames": datasets.List(datasets.Image()), "label": datasets.Value("int64")})
    rows = {"frames": [[Image.fromarray(f) for f in clip] for clip in frames()], "label": [k % 3 for k in range(15)]}
    return datasets.Dataset.from_dict(rows, features=features)
