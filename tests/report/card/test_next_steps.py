"""What to do next: code that runs, licence and cost."""

import subprocess
import sys

from hf_leep.report.card.next_steps import costs, loading


def test_the_code_loads_the_first_candidate_with_a_new_head(report, checkpoints):
    report["candidates"][0].update(id=str(checkpoints["five"]), revision="sha256:0")
    code = loading(report) + "\nassert model.config.num_labels == 10 and processor is not None\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_repository_is_loaded_at_the_commit_that_was_scored(report):
    first = report["candidates"][0]
    assert loading(report).count(f'revision="{first["revision"]}"') == 2


def test_names_cannot_leave_the_string(report):
    report["candidates"][0].update(id='a", revision="main"); print("run")\n```\n# x', revision="sha256:0")
    code = loading(report)
    compile(code, "card", "exec")
    assert "print" not in set(compile(code, "card", "exec").co_names)
    assert not any(line.startswith(("```", "#")) for line in code.splitlines())


def test_a_model_in_memory_has_no_code(report):
    report["candidates"][0]["revision"] = None
    assert loading(report) is None


def test_costs_are_of_the_first_and_of_those_that_may_be_as_good(report):
    told = costs(report, str)
    assert [name for name, _ in told] == ["big/resnet", "small/resnet"]
    assert told[1][1] == "licence cc-by-nc-4.0, 5M parameters, 12.3 s for its pass on cpu"
