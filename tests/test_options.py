"""The option records: they check themselves, and their messages name options as each reader knows them."""

import dataclasses
import pickle

import pytest
from typer.main import get_command

from hf_leep import cli
from hf_leep.errors import CandidateError, UserError, name_options, one_line, option
from hf_leep.options import Cluster, Execution, FineTuning, HubAccess, Race, Search, Selection
from hf_leep.text import parse_size

RECORDS = (Execution, HubAccess, Search, Race, Cluster, FineTuning)

WRONG = [
    (Execution, {"batch_size": 0}, "execution.batch_size is 0; it must be a whole number of at least 1"),
    (Execution, {"batch_size": "8"}, "execution.batch_size is '8'; it must be a whole number of at least 1"),
    (Execution, {"device": "tpu"}, "unknown execution.device 'tpu': cpu, cuda, mps; leave it out for the best one"),
    (Execution, {"dtype": "int8"}, "unknown execution.dtype 'int8': float32, bfloat16, float16"),
    (HubAccess, {"max_download": "much"}, "hub.max_download is 'much'; give a number such as 100M or 20GB"),
    (HubAccess, {"max_download": 0}, "hub.max_download is 0; give a number such as 100M or 20GB"),
    (HubAccess, {"prefetch": -1}, "hub.prefetch is -1; it must be a whole number of at least 0"),
    (Search, {"max_params": "-1"}, "search.max_params is '-1'; give a number such as 100M or 20GB"),
    (Search, {"limit": 0}, "search.limit is 0; it must be a whole number of at least 1"),
    (
        Search,
        {"sort": "size"},
        "unknown search.sort 'size': downloads, likes, trending_score, last_modified, created_at",
    ),
    (Race, {"confidence": 1.0}, "race.confidence is 1.0; it must be at least 0.5 and below 1, such as 0.95"),
    (Race, {"confidence": 0.4}, "race.confidence is 0.4; it must be at least 0.5 and below 1, such as 0.95"),
    (Race, {"top": 0}, "race.top is 0; it must be a whole number of at least 1"),
    (Execution, {"compile": "no"}, "execution.compile is 'no'; it must be True or False"),
    (Execution, {"cache": "no"}, "execution.cache is 'no'; it must be True or False"),
    (HubAccess, {"evict": "yes"}, "hub.evict is 'yes'; it must be True or False"),
    (HubAccess, {"allow_pickle": None}, "hub.allow_pickle is None; it must be True or False"),
    (HubAccess, {"token": 3}, "hub.token is of another type; it must be text, True or False"),
    (HubAccess, {"cache_dir": 3}, "hub.cache_dir is 3; it must be text or a path"),
    (Search, {"min_downloads": -1}, "search.min_downloads is -1; it must be a whole number of at least 0"),
    (Search, {"min_downloads": "x"}, "search.min_downloads is 'x'; it must be a whole number of at least 0"),
    *((Search, {name: 3}, f"search.{name} is 3; it must be text") for name in ("text", "task", "author", "license")),
    *((Search, {name: 3}, f"search.{name} is 3; it must be text") for name in ("library", "trained_on")),
    (Race, {"confidence": "high"}, "race.confidence is 'high'; it must be at least 0.5 and below 1, such as 0.95"),
    (Race, {"confidence": None}, "race.confidence is None; it must be at least 0.5 and below 1, such as 0.95"),
    (Race, {"top": True}, "race.top is True; it must be a whole number of at least 1"),
    (Cluster, {"address": 3}, "cluster.address is 3; it must be text"),
    (Cluster, {"resources": {"cpus": 2}}, "cluster.resources is {'cpus': 2}; it must be text such as cpus=2,gpus=1"),
    (Selection, {"seed": "x"}, "seed is 'x'; it must be a whole number of at least 0"),
    (Selection, {"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
    (Selection, {"seed": 1.5}, "seed is 1.5; it must be a whole number of at least 0"),
    (Selection, {"streaming": "no"}, "streaming is 'no'; it must be True or False"),
    (Selection, {"inputs": 3}, "input is 3; it must be text"),
    (Selection, {"inputs": ["a", 3]}, "input is 3; it must be text"),
    *((Selection, {name: 3}, f"{name} is 3; it must be text") for name in ("config", "split", "revision", "label")),
    (FineTuning, {"top": 0}, "fine_tune.top is 0; it must be a whole number of at least 1"),
    (FineTuning, {"steps": 1.5}, "fine_tune.steps is 1.5; it must be a whole number of at least 1"),
    (FineTuning, {"budget": "soon"}, "fine_tune.budget is 'soon'; give a duration such as 90s, 20m or 1h"),
    (FineTuning, {"budget": "0s"}, "fine_tune.budget is '0s'; give a duration such as 90s, 20m or 1h"),
    (FineTuning, {"budget": -5}, "fine_tune.budget is -5; give a duration such as 90s, 20m or 1h"),
    (FineTuning, {"budget": 60, "steps": 5}, "fine_tune.steps and fine_tune.budget both say how long: give one"),
    (Cluster, {"resources": "cpus"}, "cluster.resources 'cpus': write it like cpus=2,gpus=1,memory=8GB"),
    (Cluster, {"resources": "tpus=1"}, "cluster.resources 'tpus=1': write it like cpus=2,gpus=1,memory=8GB"),
    (Cluster, {"resources": "cpus=-1"}, "cluster.resources 'cpus=-1': the amount must be 0 or more"),
    (Cluster, {"resources": "cpus=nan"}, "cluster.resources 'cpus=nan': the amount must be 0 or more"),
]


@pytest.mark.parametrize(("record", "fields", "message"), WRONG)
def test_a_wrong_value_is_refused_where_the_record_is_made(record, fields, message):
    with pytest.raises(UserError) as caught:
        record(**fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_frozen_takes_its_fields_by_name_and_documents_them(record):
    made = record()
    fields = dataclasses.fields(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, fields[0].name, None)
    with pytest.raises(TypeError):
        record(None)
    for field in fields:
        assert f"        {field.name}: " in record.__doc__
    assert pickle.loads(pickle.dumps(made)) == made


def test_sizes_and_resources_are_read():
    assert HubAccess(max_download="1.5GB").max_download_bytes == 1_500_000_000
    assert HubAccess().max_download_bytes is None
    assert Search(max_params="100M").max_num_parameters == 100_000_000
    assert parse_size(7, "n") == 7
    assert Cluster(resources="cpus=2, gpus=0.5,memory=8GB").requested == {"CPU": 2, "GPU": 0.5, "memory": 8 * 10**9}
    assert Cluster().requested == {}


def test_budgets_are_read():
    assert FineTuning().seconds == 1200
    assert FineTuning(steps=5).seconds is None
    read = [FineTuning(budget=budget).seconds for budget in ("90s", "1.5m", "2 min", "1h", "30", 45, 2.5)]
    assert read == [90, 90, 120, 3600, 30, 45, 2.5]


def test_a_token_is_not_shown():
    assert "hf_secret" not in repr(HubAccess(token="hf_secret"))


def test_a_message_names_an_option_as_its_reader_does():
    error = UserError(f"{option('seed')} and {option('hub.max_download')}, not {option('execution.cache')}")
    assert str(error) == "seed and hub.max_download, not execution.cache"
    assert error.for_command_line() == "--seed and --max-download, not --no-cache"
    sent = pickle.loads(pickle.dumps(error))  # as between processes
    assert sent.for_command_line() == error.for_command_line()


def test_options_stay_marked_in_a_message_that_becomes_part_of_another():
    inner = CandidateError(f"say {option('hub.allow_pickle')}")
    assert UserError(f"a: {one_line(inner)}").for_command_line() == "a: say --allow-pickle"
    assert str(UserError(f"a: {one_line(inner)}")) == "a: say hub.allow_pickle"
    cut = one_line(inner, 8)  # in the middle of the name
    assert name_options(cut, flags=False) == "say hub"


def test_every_field_of_a_record_is_an_option_of_the_command_line():
    flags = {flag for parameter in get_command(cli.app).commands["rank"].params for flag in parameter.opts}
    names = {Execution: "execution", HubAccess: "hub", Search: "search", Race: "race", Cluster: "cluster"}
    for record, name in names.items():
        for field in dataclasses.fields(record):
            if (record, field.name) != (HubAccess, "token"):  # the command line uses HF_TOKEN or the login
                assert name_options(option(f"{name}.{field.name}"), flags=True) in flags


def test_every_field_of_fine_tuning_is_an_option_of_validate():
    flags = {flag for parameter in get_command(cli.app).commands["validate"].params for flag in parameter.opts}
    for field in dataclasses.fields(FineTuning):
        assert name_options(option(f"fine_tune.{field.name}"), flags=True) in flags
    assert "--fine-tune" in flags


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "--batch-size is 0; it must be a whole number of at least 1"),
        (["--max-download", "much"], "--max-download is 'much'; give a number such as 100M or 20GB"),
        (["--search", "", "--max-params", "x"], "--max-params is 'x'; give a number such as 100M or 20GB"),
        (["--collection", "foo"], "'foo' is not a collection: give owner/title-id, the end of its address"),
        (["--output", "/dev/null/x"], "cannot write the report to /dev/null/x ("),
        (["--models", ""], "a candidate has no name: give a repository id or a folder"),
        (["--race", "--top", "0"], "--top is 0; it must be a whole number of at least 1"),
        (["--race", "--confidence", "1"], "--confidence is 1.0; it must be at least 0.5 and below 1, such as 0.95"),
        (
            ["--sort-by", "logme"],
            "--sort-by is logme, which is not among the --measures leep, leave-one-out-leep, nce",
        ),
        (["--max-samples", "1"], "--max-samples is 1; a score needs a whole number of at least 2 examples"),
        (["--streaming"], "--streaming reads a sample: say how many rows with --max-samples"),
        (["--confidence", "0.9"], "--confidence and --top are for a race: add --race"),
        (["--top", "2"], "--confidence and --top are for a race: add --race"),
        (["--resources", "cpus=1"], "--resources and --ray-address are for a cluster: add --engine ray"),
        (["--limit", "3"], "--limit needs a search: add --search TEXT, part of a name, or --search '' for any"),
    ],
)
def test_messages_of_the_command_line_name_its_flags(arguments, message, capfd):
    assert cli.run(["rank", "--dataset", "d", "--models", "m", *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"hf-leep: {message}")
    assert captured.err.count("\n") == 1


def test_a_choice_that_does_not_exist_is_refused_with_the_choices(capfd):
    assert cli.run(["rank", "--dataset", "d", "--models", "m", "--device", "tpu"]) == 2
    assert "'tpu' is not one of 'cpu', 'cuda', 'mps'" in capfd.readouterr().err
