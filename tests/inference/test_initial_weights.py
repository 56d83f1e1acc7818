import pytest
import torch
import transformers
from torch import nn

from hf_leep.inference.initial_weights import is_untrained

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PICTURES = {"pixel_values": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
TEXTS = {"input_ids": torch.arange(5, 13)[None].repeat(4, 1)}
SOUNDS = {"input_values": torch.randn(4, 4000, generator=torch.Generator().manual_seed(0))}
CONVOLUTIONS = {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_feat_extract_layers": 2}
FAMILIES = {
    "batch norms": (
        "Image",
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        PICTURES,
    ),
    "random weights of batch norms": (
        "Image",
        transformers.EfficientNetConfig(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128),
        PICTURES,
    ),
    "layer scale": (
        "Image",
        transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
        PICTURES,
    ),
    "layer norms": ("Image", transformers.ViTConfig(**SMALL, image_size=32, patch_size=8), PICTURES),
    "RMS norms": ("Sequence", transformers.LlamaConfig(**SMALL, vocab_size=60, pad_token_id=0), TEXTS),
    "random biases": (
        "Audio",
        transformers.Wav2Vec2Config(
            **SMALL, **CONVOLUTIONS, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2
        ),
        SOUNDS,
    ),
}


def trained_for_one_step(model, inputs):
    model.train()
    model(**inputs).logits.square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_of_training_is_seen(family):
    torch.manual_seed(0)
    kind, config, inputs = FAMILIES[family]
    model = getattr(transformers, f"AutoModelFor{kind}Classification").from_config(config)
    assert is_untrained(model, None)
    assert not is_untrained(trained_for_one_step(model, inputs), None)


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.Flatten(), nn.Linear(8 * 30 * 30, 5))


def test_the_head_does_not_count():
    model = network(nn.BatchNorm2d(8))
    nn.init.constant_(model[-1].bias[:2], 3.0)
    assert not is_untrained(model, None)
    assert is_untrained(model, model[-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda norm, conv: nn.init.normal_(norm.running_mean),
        lambda norm, conv: nn.init.uniform_(norm.running_var, 1, 2),
        lambda norm, conv: nn.init.normal_(norm.bias, std=1e-6),
        lambda norm, conv: nn.init.normal_(conv.bias),  # where trained batch norms were folded into the convolutions
    ],
)
def test_any_other_trace_of_training_counts(change):
    model = network(nn.BatchNorm2d(8))
    assert is_untrained(model, model[-1])
    change(model[1], model[0])
    assert not is_untrained(model, model[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_of_any_size_look_untrained(family):
    kind, config, _ = FAMILIES[family]
    for seed in range(20):
        torch.manual_seed(seed)
        assert is_untrained(getattr(transformers, f"AutoModelFor{kind}Classification").from_config(config), None)


@pytest.mark.parametrize("kept_in", [torch.float32, torch.bfloat16])
def test_training_is_seen_where_norms_cannot_show_it(kept_in):
    torch.manual_seed(0)
    layers = [[nn.Linear(64, 64, bias=False), nn.RMSNorm(64), nn.ReLU()] for _ in range(2)]
    model = nn.Sequential(*layers[0], *layers[1], nn.Linear(64, 4)).to(kept_in)
    norms = [layer.weight for layer in model if isinstance(layer, nn.RMSNorm)]
    if kept_in == torch.float32:
        for weight in norms:
            weight.requires_grad_(False)
    assert is_untrained(model, model[-1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)  # in bfloat16, a step of 0.001 from 1 is lost
    for _ in range(200):
        inputs = torch.randn(64, 64).to(kept_in)
        nn.functional.cross_entropy(model(inputs).float(), inputs[:, :4].argmax(1)).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all((weight == 1).all() for weight in norms)
    assert not is_untrained(model, model[-1])


@pytest.mark.parametrize("change", [lambda weight: weight[3].mul_(5), lambda weight: weight[:, 3].add_(0.1)])
def test_a_row_or_column_that_differs_is_a_trace_of_training(change):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.LayerNorm(64), nn.Linear(64, 2))
    assert is_untrained(model, model[-1])
    with torch.no_grad():
        change(model[0].weight)
    assert not is_untrained(model, model[-1])


def test_of_a_network_without_norms_all_biases_have_to_be_equal():
    model = network(nn.Conv2d(8, 8, 1))
    assert not is_untrained(model, None)  # random biases, as trained ones may be
    for layer in (model[0], model[1], model[-1]):
        nn.init.zeros_(layer.bias)
    assert is_untrained(model, None)
    assert is_untrained(model, model[-1])


def test_what_is_not_known_counts_as_trained():
    assert not is_untrained(nn.Linear(3, 2, bias=False), None)
    assert not is_untrained(nn.Linear(3, 2).requires_grad_(False), None)
    assert not is_untrained(network(nn.BatchNorm2d(8)).to("meta"), None)
    assert not is_untrained(nn.Identity(), None)


@pytest.mark.parametrize("kept_in", [torch.float8_e4m3fn, torch.float16, torch.bfloat16])
def test_narrow_numbers_can_be_read(kept_in):
    model = network(nn.GroupNorm(2, 8))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(kept_in)
    assert is_untrained(model, model[-1])
    model[1].bias.data = torch.arange(8.0).to(kept_in)
    assert not is_untrained(model, model[-1])


def test_weights_that_cannot_be_read_end_nothing():
    sparse = network(nn.GroupNorm(2, 8))
    sparse[-1].weight = nn.Parameter(sparse[-1].weight.detach().to_sparse(), requires_grad=False)
    assert not is_untrained(sparse, None)
    assert not is_untrained(nn.Sequential(nn.LazyLinear(4), nn.LayerNorm(4)), None)
