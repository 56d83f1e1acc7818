"""What fine-tuning found out, as sentences and a table: who is best, who cannot be told apart, and what went wrong."""

import io

import pytest
from rich.console import Console

from hf_leep.report import card
from hf_leep.report.card import fine_tuning, verdict
from hf_leep.report.card.table import notebook
from hf_leep.report.validator import check
from hf_leep.text import code

IDS = ("big/resnet", "small/resnet", "weak/resnet")


def estimate(value, half):
    return {"value": value, "standard_error": half / 1.96, "half_width": half}


def row(k, place, accuracy=None, behind=None, in_round=None, **more):
    return {
        "id": IDS[k],
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "rank": k + 1,
        "second_opinion": False,
        "reason": None,
        "place": place,
        "round": 3 if accuracy else 2,
        "learning_rate": 2.5e-4,
        "steps": 90 if accuracy else 30,
        "choosing_accuracy": 0.9,
        "behind_in_round": None if in_round is None else estimate(*in_round),
        "seed_accuracies": [accuracy - 0.01, accuracy, accuracy + 0.01] if accuracy else [],
        "accuracy": estimate(accuracy, 0.012) if accuracy else None,
        "behind_best": None if behind is None else estimate(*behind),
        "batch_size": 32,
        "micro_batch": None,
        "keep_probability": None,
        "seconds": 75.0,
        **more,
    }


def with_rows(report, *rows, **more):
    tau = {"num_candidates": 3, "kendall": -1.0, "weighted_tau": -0.9, "weighted_tau_by_accuracy": -0.9}
    tau |= dict.fromkeys(("pearson", "pearson_interval", "pearson_p_value", "kendall_interval", "kendall_p_value"))
    found = {
        "judged_by": "accuracy of the fine-tuned network on rows that chose nothing",
        "top": 3,
        "num_ranked": 3,
        "budget": 1200.0,
        "steps": None,
        "flip": False,
        "num_train": 1500,
        "num_choose": 500,
        "num_judge": 500,
        "device": "cpu",
        "seconds": 1100.0,
        "candidates": list(rows),
        "agreement": {"leep": tau},
        **more,
    }
    return check({**report, "fine_tuning": found})


def shown(data, width=110):
    console = Console(file=io.StringIO(), width=width)
    console.print(fine_tuning.terminal(data))
    return " ".join(console.file.getvalue().split())


@pytest.fixture
def close(report):
    """The second and third cannot be told apart; the first was left behind in round 2."""
    return with_rows(
        report, row(0, 3, in_round=(0.08, 0.03)), row(1, 1, 0.931, (0.0, 0.0)), row(2, 2, 0.928, (0.003, 0.02))
    )


def test_card_terminal_and_notebook_lead_with_it(close):
    said = "After fine-tuning, small/resnet (93.1 ± 1.2 %) and weak/resnet (92.8 ± 1.2 %) cannot be told apart."
    assert verdict.verdict(close, str)[:4] == [
        said,
        "big/resnet was clearly behind in round 2, after 30 steps.",
        "If you want only one of them, take small/resnet: its accuracy is the highest.",
        "The rest of this page is about the scores before any training.",
    ]
    page = card.page(close)
    lines = page[page.index("# Which") :].splitlines()
    assert lines[2] == verdict.verdict(close, code)[0]
    assert page.count(verdict.verdict(close, code)[0]) == 1  # not again below the heading
    assert page.index("## Fine-tuned") < page.index("| # | candidate |")
    assert said in shown(close)
    assert notebook(close).startswith(f"<p>{said}</p>")
    lost = "big/resnet, the first by LEEP, is number 3, 8.0 ± 3.0 points behind the best on the choosing rows"
    assert f"{lost} of its last round." in shown(close)
    close["fine_tuning"]["candidates"][0]["behind_in_round"] = estimate(0.01, 0.03)
    assert "1.0 ± 3.0 points behind the best on the choosing rows of its last round, which may be chance." in shown(
        close
    )
    page = page.replace("\u00a0", " ")
    assert "| 1 | <code>small/<wbr>resnet</code> | 93.1 ± 1.2 | – |\n" in page
    assert "| <code>small/<wbr>resnet</code> | 2 | 3 of 3 | 90.0 | 0.00025 | 90 | 1 min 15 s |\n" in page
    assert "| LEEP | 3 | −0.90 | −1.00 |" in page
    assert "with 3 seeds, and tested on 500 images that were used for neither" in page


def test_equal_accuracies_are_called_equal(report):
    data = with_rows(report, row(0, 1, 0.93, (0.0, 0.0)), row(1, 1, 0.93, (0.0, 0.03)), row(2, 3, 0.92, (0.01, 0.03)))
    assert fine_tuning.advice(data, str) == [
        "If you want only one of them, take big/resnet or small/resnet: their accuracies are equal, and the highest."
    ]


def test_the_best_finalist_is_advised_whatever_its_place(report):
    data = with_rows(report, row(0, 2, 0.95, (0.0, 0.0)), row(1, 3, 0.5, (0.45, 0.1)))
    assert fine_tuning.advice(data, str) == ["So take big/resnet."]


def test_one_alone_is_not_called_the_best(report):
    data = with_rows(report, row(0, 1, 0.931, (0.0, 0.0)))
    said = "After fine-tuning, the accuracy of big/resnet is 93.1 ± 1.2 %. No other candidate was tried."
    assert fine_tuning.lead(data, str) == [said]
    assert fine_tuning.advice(data, str) == []
    assert not any("So take" in sentence for sentence in verdict.verdict(data, str))


def test_one_best_and_one_that_an_earlier_round_could_not_tell_from_it(report):
    data = with_rows(
        report, row(0, 1, 0.95, (0.0, 0.0)), row(1, 2, 0.90, (0.05, 0.02)), row(2, 3, in_round=(0.01, 0.04))
    )
    assert fine_tuning.lead(data, str) == [
        "After fine-tuning, big/resnet is the most accurate (95.0 ± 1.2 %); it beats small/resnet.",
        "weak/resnet was stopped in round 2, after 30 steps, by a gap smaller than its error.",
    ]
    assert fine_tuning.advice(data, str) == ["So take big/resnet."]
    assert not any("the first by" in sentence for sentence in fine_tuning.remarks(data, str))


def test_those_that_were_stopped_in_different_rounds_share_a_sentence(report):
    stopped = row(1, 3, in_round=(0.08, 0.03), round=1, steps=10), row(2, 2, in_round=(0.08, 0.03))
    lead = fine_tuning.lead(with_rows(report, row(0, 1, 0.95, (0.0, 0.0)), *stopped), str)
    assert lead[1] == "small/resnet and weak/resnet were clearly behind in an earlier round."


def test_reasons_memory_and_dropout_are_said_of_their_candidate(report):
    none = {"round": None, "learning_rate": None, "steps": None, "choosing_accuracy": None}
    failed = row(1, None, **{**none, "reason": "out of memory on cpu for one row"})
    partly = row(0, 1, 0.9, (0.0, 0.0), micro_batch=8, reason="it vanished")
    data = with_rows(report, partly, failed, row(2, 2, 0.5, (0.4, 0.1), keep_probability=0.999))
    assert fine_tuning.notes(data, str) == [
        ("big/resnet", "not with every seed: it vanished"),
        (
            "big/resnet",
            "memory ran out for 32 rows at once: gradients were added up over 8 rows at a time, which is not the same "
            "for batch normalisation",
        ),
        ("small/resnet", "out of memory on cpu for one row"),
        (
            "weak/resnet",
            "its dropout rate of 0.999 was taken for the probability of keeping a feature, and 0.001 was used",
        ),
    ]
    assert "✗ small/resnet out of memory on cpu for one row" in shown(data)
    assert "- `small/resnet`: out of memory on cpu for one row" in card.page(data)
    nothing = with_rows(report, failed)
    assert fine_tuning.lead(nothing, str) == ["None of the shortlist could be fine-tuned."]
    assert fine_tuning.advice(nothing, str) == []
    assert verdict.verdict(nothing, str)[-1].startswith("If you can fine-tune only one of them, take ")
    card.page(nothing)
    shown(nothing)


def test_what_was_done_is_said(report):
    rows = (row(0, 1, 0.9, (0.0, 0.0)), row(1, 2, 0.5, (0.4, 0.1), second_opinion=True))
    said = fine_tuning.method(with_rows(report, *rows, top=1))
    assert said.startswith(
        "All weights of the first candidate and the one with the most accurate linear head were fine-tuned on 1,500 "
        "images, with a budget of 20 min. 500 other images were used to choose"
    )
    alone = fine_tuning.method(with_rows(report, *rows, top=1, num_ranked=1))
    assert alone.startswith("All weights of the only candidate with a rank and the one with the most accurate linear")
    said = fine_tuning.method(with_rows(report, *rows[:1], budget=None, steps=90))
    assert said.startswith(
        "All weights of the first candidate were fine-tuned on 1,500 images, with 90 steps for each finalist."
    )


@pytest.mark.parametrize(("number", "said"), [(2, False), (3, True), (5, False)])
def test_few_candidates_have_a_correlation_that_says_little_and_two_have_none(close, number, said):
    for found in close["fine_tuning"]["agreement"].values():
        found["num_candidates"] = number
    sentence = f"A correlation of {number} candidates says little."
    assert (sentence in fine_tuning.remarks(close, str)) == said
    assert [cells[2:] for cells in fine_tuning.agreement_rows(close)][:1] == [["−0.90", "−1.00"]] * (number > 2)
