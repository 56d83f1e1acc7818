"""The commands other than ``rank``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from hf_leep.cli.output import announce, columns, print_json, say, show_report
from hf_leep.errors import UserError, option
from hf_leep.evaluate_module import names
from hf_leep.options import DEFAULT_BUDGET, Device, Dtype, FineTuning, HubAccess, ReportRepoType

_JSON_HELP = "Print report.json to stdout, everything else to stderr."
_FINE_TUNING = "Fine-tuning"


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"hf-leep {version('hf-leep')}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results and errors only. Works after a command, too.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the messages of transformers, datasets and the Hub's client.")
    ] = False,
) -> None:
    """Options of hf-leep itself."""
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_LEEP_QUIET"] = "1"
    if verbose:
        os.environ["HF_LEEP_VERBOSE"] = "1"


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("hf-leep-demo"),
    json: Annotated[bool, typer.Option("--json", help=_JSON_HELP)] = False,
) -> None:
    """Try hf_leep on handwritten digits, without a network: train checkpoints, rank them, and check the order."""
    from hf_leep import demo as demonstration

    report, outcome = demonstration.run(progress=not json)
    show_report(report, output, json)
    if not json:
        say(demonstration.outcome_table(outcome))


def card(folder: Annotated[str, typer.Argument(help="Folder with a report.json.")]) -> None:
    """Render README.md, report.html, scores.parquet and plots again from report.json."""
    from hf_leep.report import Report

    Report.load(folder).save(folder)
    say(f"Rendered {Path(folder) / 'README.md'}", wrap=False)


def explain(
    folder: Annotated[str, typer.Argument(help="Folder with a report.json.")],
    candidate: Annotated[
        str | None, typer.Argument(help="Its name, or its number in the ranking; the first one by default.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every class in report.json, not only the first and last few.")
    ] = False,
) -> None:
    """Show why a candidate has its score: which source classes predict yours, where it fails, and suspicious rows."""
    from hf_leep.report import Report
    from hf_leep.report.card.explanation import terminal

    report = Report.load(folder)
    say(terminal(report.data, report.candidate_with_explanation(candidate), everything))


def validate(
    folder: Annotated[str, typer.Argument(help="Folder with a report.json.")],
    top: Annotated[
        int | None,
        typer.Option(help="Only the first K candidates; by default all that have a rank, or 3 with --fine-tune."),
    ] = None,
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune",
            help="Fine-tune the first K candidates, and the one with the most accurate linear head, instead of "
            "fitting heads. Three fifths of the rows are for training, one for choosing, one for the final accuracy.",
            rich_help_panel=_FINE_TUNING,
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help=f"Time for all training, such as 90s, 20m or 1h; {DEFAULT_BUDGET} by default. What has "
            "been trained is kept: after an interruption, the same command continues with the rest of the budget.",
            rich_help_panel=_FINE_TUNING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of each finalist, instead of a budget; the same steps give the same accuracies.",
            rich_help_panel=_FINE_TUNING,
        ),
    ] = None,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip", help="Flip images at random, left to right, in training.", rich_help_panel=_FINE_TUNING
        ),
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Where the data set is now; by default where it was when it was ranked.")
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(help="cpu, cuda or mps: for fine-tuning, and for passes that are no longer in the store."),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="float32, bfloat16 or float16, for passes no longer in the store; as in the ranking by default."
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where checkpoints are kept; the Hugging Face cache by default.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept pickled weights where there are no safetensors.")
    ] = False,
    candidate_timeout: Annotated[
        str, typer.Option(help="Give up on a candidate after this long without progress: 90s, 30m or 1h.")
    ] = "30m",
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Retry candidates that crashed the process of an earlier run."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=_JSON_HELP)] = False,
) -> None:
    """Check the order of a report: train a head on each candidate, or fine-tune the first few."""
    from hf_leep import validation
    from hf_leep.report import Report
    from hf_leep.report.card import fine_tuning
    from hf_leep.report.card.validation import terminal
    from hf_leep.runs import interruptions

    options = None
    if fine_tune:
        options = FineTuning(top=3 if top is None else top, budget=budget, steps=steps, flip=flip)
    for name, given in (("budget", budget is not None), ("steps", steps is not None), ("flip", flip)):
        if given and not fine_tune:
            raise UserError(f"{option(f'fine_tune.{name}')} is for fine-tuning: add {option('fine_tune')}")
    report = validation.validate(
        Report.load(folder),
        top=None if fine_tune else top,
        fine_tune=options,
        dataset=dataset,
        device=device,
        dtype=dtype,
        hub=HubAccess(cache_dir=cache_dir, allow_pickle=allow_pickle),
        candidate_timeout=candidate_timeout,
        retry=retry,
        progress=not json,
        command=["hf-leep", *sys.argv[1:]],
    )
    with interruptions.held():
        report.save(folder)
        if json:
            print_json(report)
        say((fine_tuning.terminal if fine_tune else terminal)(report.data, columns(error=json)), error=json)
        say(f"Report: {Path(folder) / 'README.md'}", error=json, wrap=False)
    raise typer.Exit(validation.exit_code(report, fine_tuned=fine_tune))


def push(
    folder: Annotated[str, typer.Argument(help="Folder with a report.json; the other files are made from it.")],
    repo_id: Annotated[str, typer.Argument(help="Repository OWNER/NAME on the Hub; created if it does not exist.")],
    repo_type: Annotated[
        ReportRepoType, typer.Option(help="dataset, or model: a model card without weights.")
    ] = "dataset",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    license: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(help="The report's licence, as the Hub calls it, such as cc-by-4.0; unknown by default."),
    ] = None,
    commit_message: Annotated[
        str | None, typer.Option(help="First line of the commit's message, and the title of a pull request.")
    ] = None,
    annotate_models: Annotated[
        bool,
        typer.Option(
            "--annotate-models",
            help="Open a pull request on each ranked candidate's repository that adds its scores to its card.",
        ),
    ] = False,
    space: Annotated[
        bool,
        typer.Option(
            "--space", help="Also push report.html as a static Space OWNER/NAME, where it opens in a browser."
        ),
    ] = False,
    push_thumbnails: Annotated[
        bool,
        typer.Option("--push-thumbnails", help="Also push the thumbnails, which are pictures of your rows."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as JSON to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Push a report to the Hub in one commit, and print its address."""
    from dataclasses import asdict
    from json import dumps

    from hf_leep import publish
    from hf_leep.report import Report
    from hf_leep.text import plain

    report = Report.load(folder)
    if annotate_models:
        publish.check_annotations(report, private, repo_id=repo_id, repo_type=repo_type)
    pushed = publish.push(
        report,
        repo_id,
        repo_type=repo_type,
        private=private or None,
        create_pr=create_pr,
        license=license,
        commit_message=commit_message,
        space=space,
        push_thumbnails=push_thumbnails,
    )
    announce(pushed, error=json)
    annotations = publish.annotate(report, pushed) if annotate_models else []
    for done in annotations:
        typer.echo(plain(" – ".join(filter(None, (done.id, done.state, done.reason, done.url)))), err=json)
    if json:
        typer.echo(dumps({**asdict(pushed), "annotations": [asdict(done) for done in annotations]}, indent=2))
    raise typer.Exit(3 if any(done.reason for done in annotations) else 0)


def push_metric(
    repo_id: Annotated[
        str, typer.Argument(help="Space OWNER/NAME, where NAME is the metric's; created if it does not exist.")
    ],
    metric: Annotated[str, typer.Option(help=f"The measure: {', '.join(names())}.")] = "leep",
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
) -> None:
    """Push a measure's evaluate module as a Space, for evaluate.load("OWNER/NAME")."""
    from hf_leep import publish

    announce(publish.push_metric(repo_id, metric, private=private or None, create_pr=create_pr))


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every stored pass and score.")] = False,
) -> None:
    """Show what is in the store of finished passes and scores, or clear it."""
    from hf_leep.store import Store
    from hf_leep.text import size

    store = Store(Store.default_root())
    usage = store.clear() if clear else store.usage()
    if usage.root is None:
        raise UserError(f"the store {Store.default_root()} cannot be used: nothing is kept")
    say(f"{usage.root}{': removed' if clear else ''}", wrap=False)
    for kind, entries in usage.entries.items():
        say(f"{kind:<12} {entries:6,}  {size(usage.num_bytes[kind]):>9}")


def verify(
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON to stdout and nothing else.")] = False,
) -> None:
    """Check the measures on this machine against proved limits and independent implementations, in seconds."""
    from dataclasses import asdict
    from json import dumps

    from hf_leep.selfcheck import checks as verification
    from hf_leep.selfcheck.table import terminal

    checks = verification.verify(progress=not json)
    if json:
        typer.echo(
            dumps([{**asdict(check), "passed": check.passed} for check in checks], ensure_ascii=False, indent=2)
        )
    else:
        say(terminal(checks))
    raise typer.Exit(0 if all(check.passed for check in checks) else 1)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON to stdout.")] = False,
) -> None:
    """Show versions, device, caches, login, extras, and whether the Hub can be reached; no secret is shown."""
    from json import dumps

    from rich.table import Table
    from rich.text import Text

    from hf_leep.doctor import findings

    found = findings()
    if json:
        typer.echo(dumps(found, ensure_ascii=False, indent=2))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        table.add_row(Text(name), Text(value))
    say(table)
