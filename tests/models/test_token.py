"""Loading and running token classifiers: one example a word."""

import datasets
import numpy as np
import pytest
import torch

import hf_leep
from hf_leep import data
from hf_leep.errors import CandidateError
from hf_leep.models import MODALITIES, token
from tests.models import extracting

CLASSES = {"bert": 5, "roberta": 4, "gpt2": 3}
LIMIT = {"bert": 24, "roberta": 64, "gpt2": 20}


def extract(path, tagged, batch_size=8, classifier=None):
    return extracting.extract(
        classifier or token.MODALITY.adapter.load(path, ("tokens",), torch.float32), tagged, batch_size
    )


def direct(path, tagged):
    """Word by word into tokens, sentence by sentence through the model, without padding: probabilities and features.

    A sentence that is too long is cut into pieces of as many tokens as go in.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True)
    probabilities, features = [], []
    for row in tagged.with_format("arrow")[:].to_pylist():
        ids, labelled = [], []
        for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            # A model that reads from left to right has not seen the word at the space before it.
            at = int(path.name == "gpt2" and tokenizer.convert_ids_to_tokens(pieces)[0] == "Ġ")
            labelled += [len(ids) + at] if tag != -100 else []
            ids += pieces
        around = tokenizer("")["input_ids"]
        room = LIMIT[path.name] - len(around)
        for start in range(0, len(ids), room):
            piece = [*around[:1], *ids[start : start + room], *around[1:]]
            with torch.no_grad():
                out = model(torch.tensor([piece]), output_hidden_states=True)
            for place in labelled:
                if start <= place < start + room:
                    at = place - start + len(around[:1])
                    probabilities.append(out.logits[0, at].softmax(-1).numpy())
                    features.append(out.hidden_states[-1][0, at].numpy())
    return np.stack(probabilities), np.stack(features)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("name", CLASSES)
def test_equals_a_direct_loop_at_any_batch_size(token_checkpoints, tagged, name, batch_size):
    result = extract(token_checkpoints[name], tagged, batch_size)
    probabilities, features = direct(token_checkpoints[name], tagged)
    assert result.missing == {}
    assert result.probabilities.shape == (len(result.labels), CLASSES[name])
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(result.features, features, atol=1e-5)


def test_the_direct_loop_has_something_to_tell_apart(token_checkpoints, tagged):
    """Some words are of several tokens, and some begin with a bare space."""
    from transformers import AutoTokenizer

    words = {word for words in tagged["tokens"] for word in words}
    for name in CLASSES:
        tokenizer = AutoTokenizer.from_pretrained(token_checkpoints[name], add_prefix_space=True)
        pieces = [tokenizer.tokenize(word) for word in words]
        assert max(map(len, pieces)) > 4
        assert name == "bert" or {first == "Ġ" for first, *_ in pieces} == {True, False}


@pytest.mark.parametrize("name", CLASSES)
def test_long_sentences_are_read_in_pieces_and_counted(token_checkpoints, tagged, name):
    from transformers import AutoTokenizer

    path = token_checkpoints[name]
    tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True)
    read = [row for row in tagged.with_format("arrow")[:].to_pylist() if set(row["ner_tags"]) != {-100}]
    long = sum(len(tokenizer(row["tokens"], is_split_into_words=True)["input_ids"]) > LIMIT[name] for row in read)
    assert 0 < long < len(read) == 39
    result = extract(path, tagged)
    assert (result.run.num_truncated, result.run.max_length) == (long, LIMIT[name])
    report = hf_leep.rank([str(path)], tagged, progress=False)
    assert report.candidates[0]["scores"]["leep"]["warnings"][-1] == (
        f"{long} of 39 sentences are longer than {LIMIT[name]} tokens and were read in pieces"
    )


@pytest.mark.parametrize("name", CLASSES)
def test_other_orders_of_the_sentences_change_no_word(token_checkpoints, tagged, name):
    once = extract(token_checkpoints[name], tagged)
    order = np.random.default_rng(1).permutation(len(tagged))
    again = extract(token_checkpoints[name], tagged.select(order), batch_size=5)
    sentences, _ = data.load(tagged, MODALITIES)
    shuffled, _ = data.load(tagged.select(order), MODALITIES)
    before = [order.tolist().index(row) for row in sentences.row_ids.tolist()]
    place = {int(row): k for k, row in enumerate(shuffled.row_ids)}
    rows = np.concatenate([np.flatnonzero(again.draws == place[row]) for row in before])
    np.testing.assert_array_equal(again.labels[rows], once.labels)
    np.testing.assert_allclose(again.probabilities[rows], once.probabilities, atol=1e-6)
    np.testing.assert_allclose(again.features[rows], once.features, atol=1e-5)


def test_half_precision_is_close(token_checkpoints, tagged):
    classifier = token.MODALITY.adapter.load(token_checkpoints["bert"], ("tokens",), torch.bfloat16)
    result = extract(token_checkpoints["bert"], tagged, classifier=classifier)
    assert result.missing == {}
    difference = np.abs(result.probabilities - direct(token_checkpoints["bert"], tagged)[0])
    assert difference.mean() < 0.01
    assert difference.max() < 0.1


def test_headless_checkpoints_give_the_first_sub_tokens_features(token_checkpoints, tagged):
    from transformers import AutoModel, AutoTokenizer

    path = token_checkpoints["headless"]
    result = extract(path, tagged)
    assert "it was saved as BertModel" in result.missing["probabilities"]
    assert result.run.pooling == "first sub-token"
    model, tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    target, rows = data.load(tagged, MODALITIES)
    short = [
        k for k in range(len(rows)) if len(tokenizer(rows[k]["tokens"]["words"], is_split_into_words=True)[0]) < 24
    ]
    assert len(short) > 10
    for k in short:
        sentence = rows[k]["tokens"]
        encoded = tokenizer(sentence["words"], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded).last_hidden_state[0]
        expected = hidden[[encoded.word_ids().index(word) for word in sentence["labelled"]]]
        np.testing.assert_allclose(result.features[target.sentences == k], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "headless"])
def test_models_in_memory_are_run_like_their_folders_and_left_as_they_were(token_checkpoints, tagged, name):
    from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

    path = token_checkpoints[name]
    auto = AutoModel if name == "headless" else AutoModelForTokenClassification
    model, tokenizer = auto.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    sides = tokenizer.padding_side, tokenizer.truncation_side
    result = extract(path, tagged, classifier=token.MODALITY.adapter.wrap(model, tokenizer, ("tokens",)))
    expected = extract(path, tagged)
    assert (tokenizer.padding_side, tokenizer.truncation_side) == sides
    assert not any(module._forward_pre_hooks for module in model.modules())
    np.testing.assert_allclose(result.features, expected.features, atol=1e-6)
    if name != "headless":
        np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-6)


def sentences(*words):
    rows = {"tokens": list(words), "labels": [[k % 2 for k in range(len(sentence))] for sentence in words]}
    return datasets.Dataset.from_dict(rows)


ODD = ["ada", "", "\u200d", " ", "\x07", "moved", "日本", "e\u0301", "two words", "\ud7ff"]


@pytest.mark.parametrize("name", CLASSES)
def test_odd_words_have_an_answer_of_their_own(token_checkpoints, name):
    result = extract(token_checkpoints[name], sentences(ODD, ["to", "Rio"], ODD[::-1]), batch_size=2)
    assert result.probabilities.shape == (22, CLASSES[name])
    assert np.isfinite(result.probabilities).all()


def test_a_word_of_which_nothing_is_left_is_read_as_unknown(token_checkpoints):
    path = token_checkpoints["bert"]
    result = extract(path, sentences(["ada", "", "to", "\u200d"], ["rio", "to"]))
    unknown = extract(path, sentences(["ada", "[UNK]", "to", "[UNK]"], ["rio", "to"]))
    np.testing.assert_array_equal(result.probabilities, unknown.probabilities)


def test_a_word_that_a_tokenizer_cannot_read_at_all_refuses_the_candidate(token_checkpoints):
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    path = token_checkpoints["gpt2"]
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    tokenizer.unk_token = None
    classifier = token.MODALITY.adapter.wrap(model, tokenizer, ("tokens",))
    with pytest.raises(CandidateError, match="its tokenizer makes no token of '', and has no unknown token"):
        extract(path, sentences(["ada", ""], ["to", "rio"]), classifier=classifier)


def test_byte_level_tokenizers_of_any_kind_see_words_apart(token_checkpoints):
    """Those that split digits off themselves, as Qwen's do, must get no space before each digit."""
    from tokenizers import Regex, pre_tokenizers
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(token_checkpoints["gpt2"], pad_token="<pad>")
    split = pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}]?\p{L}+|\p{N}| "), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    model = AutoModelForTokenClassification.from_pretrained(token_checkpoints["gpt2"])
    batch = token.MODALITY.adapter.assemble(model, tokenizer, ("tokens",), None, {}).collate(
        [{"tokens": {"words": ["the", "19", "the"], "labelled": [0, 1, 2]}}]
    )
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert tokens == ["Ġthe", "Ġ", "1", "9", "Ġthe"]
    assert batch["positions_of_words"].tolist() == [[0, 0], [0, 2], [0, 4]]


def test_what_cannot_be_loaded_is_one_clear_line(checkpoints):
    with pytest.raises(CandidateError, match="no token classifier for model_type 'resnet'"):
        token.MODALITY.adapter.load(checkpoints["five"], ("tokens",))


def test_a_tokenizer_written_in_python_reads_the_same_pieces(token_checkpoints, tagged):
    """One that cannot say which word a token is of is asked for the tokens of each word."""
    from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

    class Slow(PreTrainedTokenizerFast):
        is_fast = False

        def __call__(self, *args, **kwargs):
            return dict(super().__call__(*args, **kwargs))  # without the words of its tokens

    path = token_checkpoints["bert"]
    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    slow = extract(
        path, tagged, classifier=token.MODALITY.adapter.wrap(model, Slow.from_pretrained(path), ("tokens",))
    )
    fast = extract(path, tagged)
    assert slow.run.num_truncated == fast.run.num_truncated > 0
    np.testing.assert_allclose(slow.probabilities, fast.probabilities, atol=1e-6)
    np.testing.assert_allclose(slow.features, fast.features, atol=1e-6)


def test_characters_keep_the_spaces_between_words_and_a_word_is_told_by_its_first_one(remade):
    from transformers import CanineConfig, CanineForTokenClassification, CanineTokenizer

    small = CanineConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_hash_buckets=64,  # and positions
        num_labels=3,
    )
    path = remade(CanineForTokenClassification, small, CanineTokenizer())
    classifier = token.MODALITY.adapter.load(path, ("tokens",))
    batch = classifier.collate([{"tokens": {"words": ["ab", "", " c"], "labelled": [0, 1, 2]}}])
    assert batch["input_ids"][0, 1:-1].tolist() == list(map(ord, " ab  c"))
    assert batch["positions_of_words"].tolist() == [[0, 2], [0, 4], [0, 6]]
    alone, together = (extract(path, sentences(["a"], ["b", "cd"] * 9), size) for size in (1, 2))
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)


@pytest.fixture
def remade(tmp_path):
    """Save a model of any class beside a tokenizer."""

    def make(model_class, config, tokenizer):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model_class(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.mark.parametrize("kind", ["FNetForTokenClassification", "FNetModel", "ConvBertForTokenClassification"])
def test_a_model_that_sees_padding_runs_each_length_alone(remade, token_checkpoints, tagged, kind):
    import transformers

    path = token_checkpoints["bert"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    small = getattr(transformers, kind).config_class(
        vocab_size=len(tokenizer), hidden_size=16, embedding_size=16, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=16, max_position_embeddings=24, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    path = remade(getattr(transformers, kind), small, tokenizer)
    alone, together = (extract(path, tagged, size) for size in (1, 9))
    np.testing.assert_allclose(together.features, alone.features, atol=1e-5)
    assert alone.features.shape == (len(alone.labels), 16)
    if kind == "FNetModel":
        assert together.run.pooling == "first sub-token"
        return
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
    np.testing.assert_allclose(together.probabilities, direct_loop(path, tagged), atol=1e-5)


def direct_loop(path, tagged):
    """Probabilities sentence by sentence without padding, in pieces of 24 tokens."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model, tokenizer = (
        AutoModelForTokenClassification.from_pretrained(path).eval(),
        AutoTokenizer.from_pretrained(path),
    )
    found = []
    for row in tagged.with_format("arrow")[:].to_pylist():
        pieces = tokenizer(
            row["tokens"], is_split_into_words=True, truncation=True, max_length=24, return_overflowing_tokens=True
        )
        told = {word for word, tag in enumerate(row["ner_tags"]) if tag != -100}
        for k, ids in enumerate(pieces["input_ids"]):
            with torch.no_grad():
                answers = model(torch.tensor([ids])).logits[0].softmax(-1)
            for place, word in enumerate(pieces.word_ids(k)):
                if word in told:
                    told.remove(word)
                    found.append(answers[place].numpy())
    return np.stack(found)


def test_a_tokenizer_without_any_token_to_fill_up_with(token_checkpoints, tagged, remade):
    from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerFast

    path = token_checkpoints["gpt2"]
    model = AutoModelForTokenClassification.from_pretrained(path)
    bare = PreTrainedTokenizerFast(tokenizer_object=AutoTokenizer.from_pretrained(path).backend_tokenizer)
    bare.model_max_length = 20
    classifier = token.MODALITY.adapter.wrap(model, bare, ("tokens",))
    assert bare.pad_token is None
    result = extract(path, tagged, classifier=classifier)
    np.testing.assert_allclose(result.probabilities, extract(path, tagged).probabilities, atol=1e-5)


def test_a_model_whose_tokens_see_nothing_of_each_other_is_refused(token_checkpoints):
    """As MRA's do where its kernels are not at hand: it takes zeros for what attention would give."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    path = token_checkpoints["bert"]
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    for name, weight in model.named_parameters():
        if "attention.output.dense" in name:
            weight.requires_grad_(False).zero_()
    with pytest.raises(CandidateError, match="its outputs for a token do not depend on the other tokens"):
        token.MODALITY.adapter.wrap(model, tokenizer, ("tokens",))


def test_a_model_that_wants_more_than_words_is_refused(remade, token_checkpoints):
    from transformers import AutoTokenizer, BrosConfig, BrosForTokenClassification

    tokenizer = AutoTokenizer.from_pretrained(token_checkpoints["bert"])
    small = BrosConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    path = remade(BrosForTokenClassification, small, tokenizer)
    with pytest.raises(CandidateError, match=r"it does not run on texts alone \(You have to specify bbox"):
        token.MODALITY.adapter.load(path, ("tokens",))


def test_answers_that_are_not_one_for_each_token_refuse_the_candidate(token_checkpoints, tagged):
    path = token_checkpoints["bert"]
    classifier = token.MODALITY.adapter.load(path, ("tokens",))
    classifier.model.model.classifier.register_forward_hook(lambda _module, _inputs, output: output[:, :-1])
    with pytest.raises(CandidateError, match=r"its outputs have shape \(\d+, 23, 5\), expected one for each token"):
        extract(path, tagged, classifier=classifier)


def test_running_says_nothing(token_checkpoints, tagged, capfd):
    for name in CLASSES:
        extract(token_checkpoints[name], tagged)
    assert capfd.readouterr() == ("", "")
