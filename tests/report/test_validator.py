"""The schema of report.json, and what a damaged file does: one line when it is loaded, and nothing later."""

import contextlib
import copy
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

import hf_leep
from hf_leep import cli
from hf_leep.errors import UserError
from hf_leep.report import Report, candidate_schema, card, schema, validation_schema, validator
from hf_leep.report.card import explanation, plots, validation
from hf_leep.report.card.table import terminal
from hf_leep.validation import validate
from tests.report.conftest import REPORT

SHIPPED = Path(validator.__file__).with_name("schema.json")
MAPS = {"scores", "versions", "measure_details", "agreement"}  # objects whose keys are names, not fields


@pytest.fixture(scope="module")
def real(checkpoints, pictures):
    """A report with as many of its sections as one can have, as the text of report.json."""
    names = [str(checkpoints[name]) for name in ("five", "headless", "seven-classes")]
    options = {"measures": ["leep", "nce", "logme"], "sort_by": "leep", "command": ["hf-leep"]}
    report = hf_leep.rank(names, pictures, progress=False, **options)
    return validate(report, dataset=pictures, progress=False).to_json()


def load(data, folder):
    """Load data, or the text of it, as the report.json of a folder."""
    (folder / "report.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return Report.load(folder)


def use(report):
    """Do everything with a report that a command does, but for the plot, which takes long."""
    console = Console(file=io.StringIO())
    console.print(terminal(report.data, 80))
    card.notebook(report.data)
    for repo_type in ("dataset", "model"):
        card.page(report.data, repo_type)
    card.interactive(report.data)
    card.parquet(report.data)
    card.local_names(report.data)
    card.private_names(report.data)
    for name in [None, *(candidate["id"] for candidate in report.candidates)]:
        with contextlib.suppress(UserError):
            console.print(explanation.terminal(report.data, report.candidate_with_explanation(name), everything=True))
    for candidate in card.ranked_on_hub(report.data):
        card.annotated("", report.data, candidate, "https://hub/report")
    if "validation" in report.data:
        console.print(validation.terminal(report.data))


def kinds_of_places(data):
    """The place of one value of each kind: of lists one item alone, but of candidates the first and the last."""
    found = {}
    for place in places(data):
        kind = tuple("item" if isinstance(key, int) and k != 1 else key for k, key in enumerate(place))
        found.setdefault(kind, place)
    return list(found.values())


def places(data, at=()):
    """The place of every value, of lists the first and the last alone."""
    if isinstance(data, dict):
        inner = data.items()
    elif isinstance(data, list):
        inner = [(k, data[k]) for k in sorted({0, len(data) - 1}) if data]
    else:
        return
    for key, value in inner:
        yield (*at, key)
        yield from places(value, (*at, key))


def changed(data, place, change):
    """A copy of data in which the object that holds a place was changed by ``change(object, key)``."""
    data = json.loads(data)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    return data


def refused(data, folder):
    """Whether a report is refused when it is loaded, in one line that names the file; if not, use it."""
    message = ""
    try:
        report = load(data, folder)
    except UserError as error:
        message = str(error)
    else:
        use(report)
    assert "\n" not in message
    assert bool(message) == ("report.json" in message)
    return bool(message)


def wrong_type(inner, key):
    """Put a value in a place that no field and no item can have there."""
    inner[key] = 7 if isinstance(inner[key], dict) else {"unexpected": 0}


def test_the_shipped_schema_is_the_one_of_the_types():
    """Set UPDATE_GOLDEN=1 to accept a change, then read the diff."""
    if os.environ.get("UPDATE_GOLDEN"):
        SHIPPED.write_text(validator.json_schema(), encoding="utf-8")
    assert SHIPPED.read_text(encoding="utf-8") == validator.json_schema()
    assert json.loads(validator.json_schema())["$id"] == schema.SCHEMA_ID == REPORT["$schema"]


def test_every_field_of_the_schema_is_described():
    made = json.loads(validator.json_schema())
    for name, described in [*made["$defs"].items(), ("ReportData", made)]:
        module = next(m for m in (candidate_schema, validation_schema, schema) if hasattr(m, name))
        _, fields = validator._described(getattr(module, name))
        assert set(fields) == set(described["properties"]) - {"$schema"}, name
        assert described["description"], name


def test_reports_fit_the_shipped_schema(real, tmp_path):
    """By another implementation of JSON Schema than the one that `Report.load` uses."""
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
    short = {**REPORT, "candidates": REPORT["candidates"][::3]}  # one with a rank, and one without
    for report in (json.loads(real), short):
        assert not [error.json_path for error in check.iter_errors(report)]
        assert not refused(report, tmp_path)
    for place in kinds_of_places(short):
        if place[-2:-1] and place[-2] in MAPS:
            continue
        for change in (dict.pop, wrong_type):
            if change is wrong_type or isinstance(place[-1], str):
                broken = changed(json.dumps(short), place, change)
                assert not check.is_valid(broken), place
                assert refused(broken, tmp_path), place


def test_every_missing_key_and_every_wrong_type_is_refused_in_one_line(real, tmp_path):
    data = json.loads(real)
    everywhere = kinds_of_places(data)
    assert len(everywhere) > 300
    for place in everywhere:
        named = len(place) > 1 and place[-2] in MAPS
        if isinstance(place[-1], str):
            assert refused(changed(real, place, dict.pop), tmp_path) or named or place == ("validation",), place
        assert refused(changed(real, place, wrong_type), tmp_path), place


def test_null_is_refused_or_does_no_harm(real, tmp_path):
    def to_null(inner, key):
        inner[key] = None

    for place in kinds_of_places(json.loads(real)):
        refused(changed(real, place, to_null), tmp_path)


@pytest.mark.parametrize("number", ["-1", "0", "1e100", "-1e100", "1e308", str(2**63 - 1), "1" + 5000 * "0"])
def test_extreme_numbers_are_refused_or_do_no_harm(report, tmp_path, number):
    def mark(inner, key):
        inner[key] = "NUMBER"

    short = json.dumps({**report, "candidates": report["candidates"][:1]})
    for place in kinds_of_places(json.loads(short)):
        value = json.loads(short)
        for key in place:
            value = value[key]
        if isinstance(value, int | float) and not isinstance(value, bool):
            text = json.dumps(changed(short, place, mark)).replace('"NUMBER"', number)
            assert refused(text, tmp_path) or len(number) < 5000, place


def test_scores_at_the_limits_are_drawn(report):
    for candidate, value in zip(report["candidates"], (1e100, -1e100), strict=False):
        candidate["scores"]["leep"]["value"] = value
        candidate["interval"] = [value, value]
    assert plots.draw(report)


def test_a_page_is_not_rendered_to_find_out(real, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise AssertionError("rendered")

    for name in ("page", "interactive", "parquet"):
        monkeypatch.setattr(card, name, fail)
    monkeypatch.setattr(plots, "draw", fail)
    load(json.loads(real), tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["target"].pop("split"), r"target\.split: it is missing\)$"),
        (
            lambda d: d["candidates"][0].update(tie_group=None),
            r"candidates\[0\]\.tie_letters: it and tie_group are null together or not at all\)$",
        ),
        (
            lambda d: d["candidates"][0].update(tie_letters="a–c"),
            r"candidates\[0\]\.tie_letters: it has to be letters such as ab or za2\)$",
        ),
        (lambda d: d["candidates"][3].update(rank=4), r"candidates\[3\]\.\w+: .* \(and \d more\)\)$"),
        (lambda d: d["candidates"][0]["scores"].pop("leep"), r"candidates\[0\]\.scores\.leep: it is missing, and"),
        (lambda d: d["candidates"][0]["scores"]["leep"].update(value=None), r"leep\.value: it is null, but makes"),
        (lambda d: d["measure_details"].pop("leep"), r"measures\[0\]: the measure leep is not in measure_details\)$"),
        (lambda d: d.update(confidence=95), r"confidence: input should be less than 1\)$"),
        (
            lambda d: d["run"].update({"versions": {"a\n\x1b": 1}}),
            r"run\.versions\.a: input should be a valid string\)$",
        ),
        (lambda d: d["target"].update(seed=2**64), r"target\.seed: the number 1\.84e\+19 is not allowed\)$"),
        (lambda d: d["target"].update(class_entropy=float("inf")), r"class_entropy: the number inf is not allowed\)$"),
        (lambda d: d["target"].update(num_examples=True), r"num_examples: input should be a valid integer\)$"),
        (lambda d: d["target"].update(num_examples="2500"), r"num_examples: input should be a valid integer\)$"),
        (
            lambda d: d["target"].update(num_examples=10**400),
            r"num_examples: the number inf is not allowed\)$",
        ),
        (lambda d: d["target"].update(num_rows=-(10**400)), r"target\.num_rows: the number -inf is not allowed\)$"),
        (
            lambda d: d["target"].update(num_examples=-5),
            r"examples: input should be greater than or equal to 0\)$",
        ),
        (lambda d: d["target"].update(class_entropy=0), r"class_entropy: input should be greater than 0\)$"),
        (lambda d: d["target"].update(class_names=["a"]), r"class_names: there are 1, but num_classes is another"),
        (lambda d: d.update(num_pairs=0), r"num_disagreements: it is more than num_pairs\)$"),
        (lambda d: d["calibration"].update(num_pairs=0), r"calibration\.num_reordered: it is more than num_pairs\)$"),
        (lambda d: d["agreement"][0].update(kendall=7), r"kendall: input should be less than or equal to 1\)$"),
        (lambda d: d["candidates"][0].update(probability_best=7), r"best: input should be less than or equal to 1"),
        (
            lambda d: d["candidates"][0].update(probability_best=-1),
            r"best: input should be greater than or equal to 0",
        ),
        (lambda d: d["candidates"][0].update(entropy_explained=5), r"explained: input should be less than or equal"),
        (lambda d: d["candidates"][0].update(rank=-3), r"rank: input should be greater than or equal to 1\)$"),
        (lambda d: d["candidates"][1].update(rank=1), r"candidates\[1\]\.rank: another candidate has rank 1, too\)$"),
        (
            lambda d: d["candidates"][0].update(rank_interval=[5, 1]),
            r"rank_interval: its lower end is above its upper",
        ),
        (
            lambda d: d["candidates"][0].update(interval=[-1, -2]),
            r"\.interval: its lower end is above its upper",
        ),
        (lambda d: d["candidates"][0]["scores"]["leep"].update(interval=[-1, -2]), r"leep\.interval: its lower end"),
        (lambda d: d["candidates"][0]["head_accuracy"].update(interval=[1, 0]), r"head_accuracy\.interval: its lower"),
        (lambda d: d["candidates"][0]["scores"]["leep"].update(standard_error=-1), r"error: .* or equal to 0\)$"),
        (
            lambda d: d["candidates"][0]["explanation"]["classes"][0]["sources"][0].update(share=7),
            r"share: .* 1.001",
        ),
        (lambda d: d["candidates"][0]["scores"]["leep"].update(value=1e308), r"leep\.value: .* equal to 1e\+100\)$"),
    ],
)
def test_a_message_says_where(report, tmp_path, edit, message):
    edit(report)
    with pytest.raises(UserError, match=message) as caught:
        load(report, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_number_that_only_json_can_write_is_refused(report, tmp_path):
    text = json.dumps(report).replace('"class_entropy": 2.302585', '"class_entropy": 1e999')
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match=r"target\.class_entropy: the number inf is not allowed\)$"):
        Report.load(tmp_path)


def test_unknown_keys_are_kept(report, tmp_path):
    report["later"] = {"any": ["thing", 1.5, None]}
    report["candidates"][0]["later"] = report["measure_details"]["leep"]["later"] = 1
    loaded = load(report, tmp_path)
    assert loaded.data == report
    use(loaded)


def test_commands_refuse_a_damaged_report_with_exit_code_2(report, tmp_path, capsys):
    del report["target"]["input_columns"]
    (tmp_path / "report.json").write_text(json.dumps(report))
    for command in (["card"], ["explain"], ["validate"], ["push"]):
        arguments = [*command, str(tmp_path), *(["user/name"] if command == ["push"] else [])]
        assert cli.run(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == f"hf-leep: {tmp_path / 'report.json'} is damaged (target.input_columns: it is missing)\n"


def foreign(report):
    """The report with a measure in place of LEEP that is not installed here."""
    made_up = {"title": "Made-Up Score", "unit": "points", "needs": "features", "higher_is_better": False}
    text = json.dumps(report).replace('"leep"', '"made-up"')
    data = json.loads(text)
    data["measure_details"]["made-up"] = {**made_up, "reference": "Nobody, 2030", "summary": "how made up it is"}
    return data


def test_a_report_with_a_measure_that_is_not_installed_is_loaded_rendered_and_explained(real, tmp_path):
    data = foreign(json.loads(real))
    assert "made-up" not in hf_leep.measures.MEASURES
    loaded = load(data, tmp_path)
    use(loaded)
    loaded.save(tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "- **Made-Up Score**: how made up it is (Nobody, 2030)." in page
    assert "| Made-Up Score (points) |" in page
    assert "Made-Up Score" in validation.sentences(loaded.data, str)[0]
    assert cli.run(["explain", str(tmp_path / "out")]) == 0
    assert cli.run(["card", str(tmp_path / "out")]) == 0


def test_the_page_of_a_report_does_not_need_the_measures(report):
    """No file of the card, and none that it imports from the report, imports the measures."""
    room = Path(card.__file__).parent
    for path in [*room.glob("*.py"), *(room.parent / f"{name}.py" for name in ("report", "schema", "validator"))]:
        assert "hf_leep.measures" not in path.read_text(encoding="utf-8"), path


def test_the_level_of_the_words_is_the_report_s(report):
    report = copy.deepcopy(report)
    report["confidence"] = 0.9
    report["race"] = {
        "confidence": 0.95, "top": 1, "decided_by": "leep", "level": 0.01, "looks": [1250], "num_examples_run": 7500,
        "num_examples_of_all": 7500,
    }  # fmt: skip
    report["candidates"][2]["stopped"] = {"look": 0, "behind": "big/resnet", "gap": 0.5, "margin": 0.1}
    page = card.page(report)
    assert "95" not in page.replace("with 95 % confidence", "").replace("1 − 0.95", "")
    assert page.count("90 %") == 7
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal(report))
    assert "wider than at 90 %" in console.file.getvalue()
