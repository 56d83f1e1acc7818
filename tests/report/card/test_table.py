import io

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from hf_leep.report.card.table import notebook, parquet, terminal
from tests.report.conftest import measure


def shown(report, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal(report, width), crop=False)
    return console.file.getvalue()


def test_the_terminal_shows_what_the_card_shows(report):
    text = shown(report)
    assert "user/flowers train: 2,500 of 60,000 rows, 10 classes, input image, label label, seed 0" in text
    for words in ("big/resnet", "−0.81 ± 0.04", "56 %", "1,000", "25.6M", "✗ base/bert"):
        assert words in text
    flat = " ".join(text.split())
    assert "! not for commercial use, according to its licence cc-by-nc-4.0 (small/resnet)" in flat
    assert "not of interest" not in flat
    assert "order 1 of 3 pairs of candidates differently" in flat
    assert "1 candidate could not be ranked because it has no trained classification head" in flat
    command = "hf-leep rank --dataset user/flowers --split train --measures logme"
    assert f"\n{command}\n" in shown(report, 40)  # on one line, to be copied
    assert "1 of the other 2 may be as good: small/resnet, which is smaller (5M parameters)." in flat


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_column_fits_the_terminal(report, width):
    report["measures"] = ["leep", "leave-one-out-leep"]
    lines = [line for line in shown(report, width).splitlines() if not line.startswith("hf-leep rank")]
    assert max(map(len, lines)) <= width
    assert any("25.6M" in line and "−0.81" in line for line in lines) == (width > 60)
    assert any("−0.81 ± 0.04" in line and "1–2" in line for line in lines)


def test_a_long_name_is_cut_where_it_stays_different_and_is_whole_in_a_file(report):
    names = [f"somebody/vit-{size}-patch16-224-in21k-finetuned" for size in ("tiny", "base", "large")]
    for candidate, name in zip(report["candidates"], names, strict=False):
        candidate["id"] = name
    rows = [line for line in shown(report, 80).splitlines() if line[:2] in ("1 ", "2 ", "3 ") and "±" in line]
    cut = [row.split()[2] for row in rows]
    assert len(set(cut)) == len(cut) == 3  # a row is a line
    for short, name in zip(cut, names, strict=True):
        start, end = short.split("…")
        assert name.startswith(start)
        assert name.endswith(end)
    assert max(map(len, cut)) >= 15
    whole = io.StringIO()
    Console(width=80, file=whole, color_system=None).print(terminal(report), crop=False)
    lines = whole.getvalue().splitlines()
    assert [line.split()[2] for line in lines if line[:2] in ("1 ", "2 ", "3 ") and "±" in line] == names
    # Where every cut makes two names equal, they are broken instead: nothing of them is lost.
    for candidate, middle in zip(report["candidates"], "ab", strict=False):
        candidate["id"] = f"{'b' * 30}{middle}{'e' * 30}"
    assert "…" not in shown(report, 80).split("\n\n")[1]


def test_a_command_of_many_lines_is_said_in_one(report):
    models = " ".join(f"/somewhere/models/{number}" for number in range(40))
    whole = f"hf-leep rank --dataset user/flowers --output 'my report-auto' --models {models} --sort-by auto"
    report["headless"]["command"] = whole
    flat = " ".join(shown(report, 80).split())
    assert "repeat the command with --output 'my report-auto' --sort-by auto (report.json has all of it" in flat
    assert "/somewhere/models/39" not in flat
    report["headless"]["command"] = whole.replace("--output 'my report-auto' ", "")
    assert "repeat the command with --sort-by auto\n" in shown(report, 80)
    assert f"\n{report['headless']['command']}\n" in shown(report, 1000)


def test_many_measures_leave_room_for_names_and_the_terminal_says_how_many_it_left_out(report):
    from hf_leep.measures import MEASURES

    report["measures"] = ["nce", "h-score", *(m for m in MEASURES if m not in ("nce", "h-score", "leep")), "leep"]
    report["measure_details"] = {name: measure(name) for name in report["measures"]}
    for candidate in report["candidates"][:3]:
        candidate["scores"] = dict.fromkeys(report["measures"], candidate["scores"]["leep"])
    lines = [line for line in shown(report, 80).splitlines() if not line.startswith("hf-leep rank")]
    assert max(map(len, lines)) <= 80
    first = next(line for line in lines if line.startswith("1 "))
    assert "big/resnet" in first
    assert "−0.81 ± 0.04" in first  # by which the order is, although it is the last
    heading = next(line for line in lines if "candidate" in line)
    assert "NCE" in heading
    assert "LEEP" in heading
    (said,) = [line for line in lines if "only on the card (README.md of the report)" in line]
    left_out = int(said.split()[0])
    assert left_out + first.count("−0.81") == len(report["measures"])
    assert "only on the card (README" not in shown(report, 400)


def test_a_terminal_shows_how_sure_the_places_are_where_it_has_room(report):
    wide = next(line for line in shown(report, 100).splitlines() if line.startswith("2 "))
    assert wide.split()[-7:] == ["84.2", "%", "1,000", "5M", "1–3", "70", "%"]
    narrow = next(line for line in shown(report, 80).splitlines() if line.startswith("2 "))
    assert narrow.split()[-4:] == ["84.2", "%", "5M", "1–3"]
    least = next(line for line in shown(report, 60).splitlines() if line.startswith("2 "))
    assert least.split()[-4:] == ["−0.990", "84.2", "%", "1–3"]
    candidate_only = next(line for line in shown(report, 50).splitlines() if line.startswith("2 "))
    assert candidate_only.split()[-2:] == ["−0.990", "1–3"]
    headings = shown(report, 60)
    assert "linear" in headings  # the second opinion stays longer than the entropy explained
    assert "expl." not in headings


def test_names_cannot_control_the_terminal(report):
    for candidate in report["candidates"]:
        candidate["id"] += "\x1b[2J\x1b]0;title\x07[bold red]\r\n"
        candidate["reason"] = "\x1b[2J[/]"
        candidate["notes"] = ["\x1b[2J[/]"]
    text = shown(report)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold red]" in " ".join(text.split()).replace(" ", "") or "[bold" in text


def test_a_notebook_shows_the_verdict_and_a_table_and_runs_nothing(report):
    from xml.etree import ElementTree

    for candidate in report["candidates"]:
        candidate["id"] += "<script>alert(1)</script>&"
        candidate["reason"] = "<img src=x onerror=alert(1)>"
        candidate["notes"] = ["licence <img src=x onerror=alert(1)>"]
    html = notebook(report)
    tree = ElementTree.fromstring(f"<div>{html}</div>")  # well-formed
    assert {element.tag for element in tree.iter()} == {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert len(tree.findall(".//tbody/tr")) == 4
    assert [cell.text for cell in tree.findall(".//tbody/tr")[1]][-2:] == ["1–3", "70\u00a0%"]
    assert ">−0.81 ± 0.04<" in html
    assert all("nowrap" in cell.get("style") for cell in tree.findall(".//tbody/tr")[1])  # no score in two lines
    assert "1 of the other 2 may be as good" in html
    assert "repeat an earlier row exactly" in html
    assert "licence &lt;img src=x onerror=alert(1)&gt; (all candidates)" in html


def test_the_parquet_file_has_a_row_for_each_candidate(report):
    table = pq.read_table(io.BytesIO(parquet(report)))
    assert table.column("id").to_pylist() == ["big/resnet", "small/resnet", "weak/resnet", "base/bert"]
    assert table.column("leep").to_pylist() == [-0.812, -0.83, -1.512, None]
    assert table.column("leave_one_out_leep_standard_error").to_pylist() == [0.025, 0.025, 0.025, None]
    low = [score["interval"][0] for c in report["candidates"][:3] for score in [c["scores"]["leave-one-out-leep"]]]
    assert table.column("leave_one_out_leep_interval_low").to_pylist() == [*low, None]
    assert table.column("leave_one_out_leep_interval_high").to_pylist()[3] is None
    assert table.column("rank").to_pylist() == [1, 2, 3, None]
    assert table.column("license").to_pylist() == ["apache-2.0", "cc-by-nc-4.0", "apache-2.0", "apache-2.0"]
    assert table.column("stated_accuracy").to_pylist() == [0.7613, None, 0.7613, 0.7613]
    assert table.column("stated_on").to_pylist() == ["ImageNet-1k (validation)", None, None, None]
    assert table.column("status").to_pylist() == ["ok"] * 3 + ["failed"]


def test_a_measure_without_any_score_has_no_column(report):
    report["measures"] = ["leep", "nce"]
    report["measure_details"]["nce"] = measure("nce")
    for candidate in report["candidates"][:3]:
        candidate["scores"]["nce"] = {**candidate["scores"]["leep"], "value": -0.9}
    assert "<th>NCE</th>" in notebook(report)
    assert "NCE" in shown(report, 200)
    for candidate in report["candidates"][:3]:
        candidate["scores"]["nce"]["value"] = None
    assert "<th>NCE</th>" not in notebook(report)
    assert "NCE" not in shown(report, 200)
