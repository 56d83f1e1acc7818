"""What to do next: code that runs, licence and cost."""

import subprocess
import sys

import pytest

from hf_leep.report import Report
from hf_leep.report.card import Place, without_paths
from hf_leep.report.card.next_steps import costs, explaining, fine_tuning, loading
from tests.report.card.test_fine_tuning import row, with_rows


def test_the_code_loads_a_local_checkpoint_with_a_new_head(report, checkpoints):
    for candidate in report["candidates"][:2]:
        candidate.update(id=str(checkpoints["five"]), revision="sha256:0")
    code = loading(without_paths(report)) + "\nassert model.config.num_labels == 10 and processor is not None\n"
    assert str(checkpoints["five"]) not in code
    where = checkpoints["five"].parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=where)
    assert done.returncode == 0, done.stderr


def test_a_repository_is_loaded_at_the_commit_that_was_scored(report):
    first = report["candidates"][0]
    assert loading(report).count(f'revision="{first["revision"]}"') == 2


def test_what_is_loaded_is_what_the_verdict_says_to_take(report):
    assert '"small/resnet"' in loading(report)  # the second, which is more likely to be the best
    report["candidates"][0]["probability_best"] = 0.8
    assert '"big/resnet"' in loading(report)
    tuned = with_rows(report, row(2, 1, 0.9, (0.0, 0.0)), row(0, 2, 0.8, (0.1, 0.01)))
    assert '"weak/resnet"' in loading(tuned)


@pytest.mark.parametrize(
    ("folder", "word"), [("report", "report"), ("my $report", "'my $report'"), ("a\nb", "FOLDER"), (None, "FOLDER")]
)
def test_the_commands_name_the_folder_for_the_shell(report, folder, word):
    said, command = fine_tuning(report, Place(folder))
    assert said == "To be sure, fine-tune the first few within a time budget:"
    assert command == f"hf-leep validate {word} --fine-tune --top 3 --budget 20m"
    assert explaining(Place(folder)) == f"hf-leep explain {word} NAME"


def test_a_saved_card_names_its_folder_from_where_it_was_made(report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for asked in ("out/a b", tmp_path / "out/a b"):
        page = (Report(report).save(asked) / "README.md").read_text(encoding="utf-8")
        assert "\nhf-leep validate 'out/a b' --fine-tune" in page
        assert str(tmp_path) not in page
    monkeypatch.chdir("out/a b")
    Report.load(".").save(".")  # as `hf-leep card .`
    assert "\nhf-leep validate 'a b' --fine-tune" in (tmp_path / "out/a b/README.md").read_text(encoding="utf-8")


def test_the_commands_of_a_pushed_card_download_it_first(report):
    place = Place(repo_id="user/ranking")
    download, command = fine_tuning(report, place)[1].splitlines()
    assert download == "hf download user/ranking --repo-type dataset --local-dir ranking"
    assert command == "hf-leep validate ranking --fine-tune --top 3 --budget 20m"
    report["candidates"][1]["revision"] = "sha256:0"
    said, command = fine_tuning(report, place)
    assert said.endswith(", where the report was made:")
    assert command.startswith("hf-leep validate ")


def test_rows_and_models_in_memory_have_to_be_given_again(report):
    report["target"]["dataset"] = "Dataset object"
    said, command = fine_tuning(report, Place("report"))
    assert "PATH is where" in said
    assert command.endswith(" --dataset PATH")
    report["candidates"][0]["revision"] = None
    code = fine_tuning(report, Place("report"))[1]
    compile(code, "card", "exec")
    assert "models=[(name, model, processor)], dataset=dataset" in code


def test_what_is_done_or_impossible_is_not_proposed(report):
    assert fine_tuning(with_rows(report, row(0, 1, 0.9, (0.0, 0.0))), Place("report")) is None
    alone = {**report, "candidates": report["candidates"][:1], "second_opinion": None}
    assert fine_tuning(alone, Place("report")) is None


def test_names_cannot_leave_the_string(report):
    report["candidates"][1].update(id='a", revision="main"); print("run")\n```\n# x', revision="sha256:0")
    code = loading(report)
    compile(code, "card", "exec")
    assert "print" not in set(compile(code, "card", "exec").co_names)
    assert not any(line.startswith(("```", "#")) for line in code.splitlines())


def test_a_model_in_memory_has_no_code(report):
    report["candidates"][1]["revision"] = None
    assert loading(report) is None


def test_costs_are_of_the_first_and_of_those_that_may_be_as_good(report):
    told = costs(report, str)
    assert [name for name, _ in told] == ["big/resnet", "small/resnet"]
    assert told[1][1] == "licence cc-by-nc-4.0, 5M parameters, 12.3 s for its pass on cpu"
