"""The command line: argv → one call → exit code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hf_leep.errors import HfLeepError, UserError
from hf_leep.inference.processes import is_main
from hf_leep.measures import MEASURES

app = typer.Typer(
    name="hf-leep",
    help="Which checkpoint on the Hub should I fine-tune for my data set?",
    add_completion=False,
    no_args_is_help=True,
)


# Panels of the help page.
_DATA, _NAME, _FIND, _BRING = "Data set", "Candidates", "Find candidates on the Hub", "Download candidates"
_ORDER, _RUN, _REPORT = "Scores and order", "How it runs", "Report"


class _SpreadModels(TyperCommand):
    """Let ``--models A B`` stand for ``--models A --models B``, and ``--measures a b`` for ``--measures a,b``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-") and word != "-":
                option = word
                spread += [] if option == "--models" else [word]
            elif option == "--models":
                spread += ["--models", word]
            elif option == "--measures" and spread[-1] != "--measures":
                spread[-1] += f",{word}"
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"hf-leep {version('hf-leep')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    pass


@app.command(cls=_SpreadModels)
def rank(
    dataset: Annotated[
        str, typer.Option(help="Data set: Hub id, file, folder or save_to_disk folder.", rich_help_panel=_DATA)
    ],
    config: Annotated[str | None, typer.Option(help="Configuration of the data set.", rich_help_panel=_DATA)] = None,
    split: Annotated[
        str | None, typer.Option(help="Split, slices such as train[:20%] included.", rich_help_panel=_DATA)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of a data set on the Hub.", rich_help_panel=_DATA)
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Label column; inferred where it is clear.", rich_help_panel=_DATA)
    ] = None,
    input: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="Input column, or two of text as A,B; inferred where it is clear.", rich_help_panel=_DATA),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="One or several: local folders or repo ids.", rich_help_panel=_NAME)
    ] = None,
    models_file: Annotated[
        Path | None, typer.Option(help="File with one candidate a line.", rich_help_panel=_NAME)
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(help="Candidates from a collection: owner/title-id.", rich_help_panel=_FIND),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="Candidates from a search on the Hub: part of the name, '' for any.", rich_help_panel=_FIND),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Hub task; that of the data set's modality by default.", rich_help_panel=_FIND)
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(help="Library of the checkpoints, '' for any; transformers by default.", rich_help_panel=_FIND),
    ] = None,
    author: Annotated[str | None, typer.Option(help="User or organisation.", rich_help_panel=_FIND)] = None,
    license: Annotated[  # noqa: A002
        str | None, typer.Option(help="Licence, such as apache-2.0.", rich_help_panel=_FIND)
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(help="Largest number of parameters, such as 100M.", rich_help_panel=_FIND)
    ] = None,
    min_downloads: Annotated[
        int | None, typer.Option(help="Downloads in the last month.", rich_help_panel=_FIND)
    ] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Data set that their cards say they were trained on.", rich_help_panel=_FIND)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many to take; 20 by default.", rich_help_panel=_FIND)] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="downloads (by default), likes, trending_score, last_modified or created_at.", rich_help_panel=_FIND
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be run and downloaded, and stop.", rich_help_panel=_BRING),
    ] = False,
    max_download: Annotated[
        str | None,
        typer.Option(help="Budget, such as 20GB: candidates beyond it are skipped.", rich_help_panel=_BRING),
    ] = None,
    prefetch: Annotated[
        int, typer.Option(help="Candidates to download ahead while one runs.", rich_help_panel=_BRING)
    ] = 1,
    evict: Annotated[
        bool,
        typer.Option("--evict", help="Remove what this run downloaded once it is scored.", rich_help_panel=_BRING),
    ] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Where checkpoints are kept; the Hugging Face cache by default.", rich_help_panel=_BRING),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Accept pickled weights where there are no safetensors.", rich_help_panel=_BRING
        ),
    ] = False,
    measures: Annotated[
        str, typer.Option(help=f"Comma-separated, from {', '.join(MEASURES)}.", rich_help_panel=_ORDER)
    ] = ("leep,leave-one-out-leep,nce"),
    sort_by: Annotated[
        str | None,
        typer.Option(
            help="Measure that makes the order, the first one by default; auto for pools with headless ones.",
            rich_help_panel=_ORDER,
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race", help="Run growing nested samples, and stop clear losers early.", rich_help_panel=_ORDER
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="With --race: probability that none of the truly best is stopped; 0.95.", rich_help_panel=_ORDER
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="With --race: how many best ones are sought; 1.", rich_help_panel=_ORDER)
    ] = None,
    max_samples: Annotated[
        int | None,
        typer.Option(
            help="Rank on a stratified sample of this many rows; of labelled words, on random sentences.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Read only --max-samples rows of a data set on the Hub: not stratified.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sample.", rich_help_panel=_DATA)] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a batch; chosen by timing by default.", rich_help_panel=_RUN)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or mps; the best at hand by default.", rich_help_panel=_RUN)
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Number type to compute in: float32, bfloat16 or float16.", rich_help_panel=_RUN)
    ] = "float32",
    compile: Annotated[  # noqa: A002
        bool,
        typer.Option(
            "--compile", help="Compile each model first (torch.compile): worth it on many rows.", rich_help_panel=_RUN
        ),
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray: each candidate a task of a cluster.", rich_help_panel=_RUN)
    ] = "local",
    resources: Annotated[
        str | None,
        typer.Option(help="With ray, what a candidate takes: cpus=2,gpus=1,memory=8GB.", rich_help_panel=_RUN),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster; that of RAY_ADDRESS, else one on this machine.", rich_help_panel=_RUN),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Run every pass again, and keep none in the store.", rich_help_panel=_RUN),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the report: README.md, report.json, plots.", rich_help_panel=_REPORT),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            help="Repository OWNER/NAME on the Hub to push the report to, when it is done.", rich_help_panel=_REPORT
        ),
    ] = None,
    repo_type: Annotated[
        str, typer.Option(help="Its type, when it is pushed to: dataset or model.", rich_help_panel=_REPORT)
    ] = "dataset",
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.", rich_help_panel=_REPORT)
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Push as a pull request instead of a commit.", rich_help_panel=_REPORT)
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print report.json to stdout, everything else to stderr.", rich_help_panel=_REPORT
        ),
    ] = False,
) -> None:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training."""
    from hf_leep import api, hub, publish
    from hf_leep.report import Report
    from hf_leep.report.card.plan import planned

    if output is not None and is_main():
        Report.check_folder(output)
    if push_to_hub is not None and is_main():
        publish.check(push_to_hub, repo_type=repo_type, private=private or None, create_pr=create_pr)
    elif private or create_pr or repo_type != "dataset":
        raise UserError(
            "--private, --create-pr and --repo-type are about a push: name its target, --push-to-hub OWNER/NAME"
        )
    names = [*(models or []), *(api.read_names(models_file) if models_file else [])]
    wanted: dict[str, Any] = {
        "text": search,
        "task": task,
        "author": author,
        "license": license,
        "max_params": max_params,
        "min_downloads": min_downloads,
        "trained_on": trained_on,
    }
    how: dict[str, Any] = {"library": library, "limit": limit, "sort": sort}
    given = {name: value for name, value in {**wanted, **how}.items() if value is not None}
    asked = any(name in given for name in wanted)
    if given and not asked:
        raise UserError(f"--{', --'.join(given)}: of which search? --search TEXT asks for part of a name, '' for any")
    found = hub.Search(**{**given, "library": given.get("library", "transformers") or None}) if asked else None
    run_or_plan: Callable[..., Any] = api.rank
    outcome = run_or_plan(
        names,
        dataset,
        search=found,
        collection=collection,
        dry_run=dry_run,
        max_download=max_download,
        prefetch=prefetch,
        evict=evict,
        cache_dir=cache_dir,
        allow_pickle=allow_pickle,
        on_plan=lambda plan: _say(planned(plan.data), error=True) if plan.worth_showing else None,
        config=config,
        split=split,
        revision=revision,
        label=label,
        input=input,
        measures=[name for name in measures.split(",") if name.strip()],
        sort_by=sort_by,
        race=race,
        confidence=confidence,
        top=top,
        max_samples=max_samples,
        streaming=streaming,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        compile=compile,
        engine=engine,
        resources=resources,
        ray_address=ray_address,
        cache=not no_cache,
        progress=not json,
        command=["hf-leep", *sys.argv[1:]],
    )
    if not is_main():  # the main process writes and talks
        raise typer.Exit
    if not dry_run:
        _deliver(outcome, output, json, stop=False)  # before the push, which may fail
        if push_to_hub is not None and outcome.exit_code == 1:
            _complain("no candidate has a rank: nothing is pushed")
        elif push_to_hub is not None:
            pushed = publish.push(
                outcome, push_to_hub, repo_type=repo_type, private=private or None, create_pr=create_pr
            )
            _announce(pushed, error=json)
        raise typer.Exit(outcome.exit_code)
    if json:
        typer.echo(dumps(outcome.data, ensure_ascii=False, indent=2))
    _say(planned(outcome.data), error=json)
    raise typer.Exit(outcome.exit_code)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("hf-leep-demo"),
    json: Annotated[
        bool, typer.Option("--json", help="Print report.json to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Do the whole job on handwritten digits, without network: train sources, rank them, check the order."""
    from hf_leep import demo as demonstration

    report, outcome = demonstration.run(progress=not json)
    _deliver(report, output, json, stop=False)
    if not json:
        _say(demonstration.outcome_table(outcome))


@app.command()
def card(folder: Annotated[Path, typer.Argument(help="Folder with a report.json.")]) -> None:
    """Render README.md, scores.parquet and plots again from report.json."""
    from hf_leep.report import Report

    Report.load(folder).save(folder)
    _say(f"Rendered {folder / 'README.md'}")


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="Folder with a report.json.")],
    candidate: Annotated[
        str | None, typer.Argument(help="Its name, or its number in the ranking; the first one by default.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every class that report.json holds, not the first and last few.")
    ] = False,
) -> None:
    """Show why a candidate scores as it does: which of its classes tell yours, what it fails at, and odd rows."""
    from hf_leep.report import Report
    from hf_leep.report.card.explanation import terminal

    report = Report.load(folder)
    _say(terminal(report.data, report.candidate_with_explanation(candidate), everything))


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="Folder with a report.json.")],
    top: Annotated[
        int | None, typer.Option(help="Only the first K candidates; all that have a rank by default.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where the data set is now; where it was when it was ranked by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="For passes that are not in the store any more.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Number type of passes that are not in the store; as ranked by default.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print report.json to stdout, everything else to stderr.")
    ] = False,
) -> None:
    """Train a head on each candidate of a report, add its accuracy, and say how far to trust the order."""
    from hf_leep.report import Report
    from hf_leep.report.card.validation import terminal
    from hf_leep.validation import validate as validated

    report = validated(Report.load(folder), top=top, dataset=dataset, device=device, dtype=dtype, progress=not json)
    report.save(folder)
    if json:
        sys.stdout.buffer.write(report.to_bytes())
        sys.stdout.flush()
    _say(terminal(report.data), error=json)
    _say(f"Report: {folder / 'README.md'}", error=json)
    tried = [candidate["accuracy"] is not None for candidate in report.data["validation"]["candidates"]]
    raise typer.Exit(0 if all(tried) else 3 if any(tried) else 1)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder with a report.json; the other files are made from it.")],
    repo_id: Annotated[str, typer.Argument(help="Repository OWNER/NAME on the Hub; made if it is missing.")],
    repo_type: Annotated[str, typer.Option(help="dataset, or model: a model card without weights.")] = "dataset",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    annotate_models: Annotated[
        bool,
        typer.Option(
            "--annotate-models",
            help="Open a pull request on each ranked candidate's repository that adds its scores to its card.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print what became of it as JSON to stdout, everything else to stderr.")
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
    pushed = publish.push(report, repo_id, repo_type=repo_type, private=private or None, create_pr=create_pr)
    _announce(pushed, error=json)
    annotations = publish.annotate(report, pushed) if annotate_models else []
    for done in annotations:
        typer.echo(plain(": ".join(filter(None, (done.id, done.state, done.reason, done.url)))), err=json)
    if json:
        typer.echo(dumps({**asdict(pushed), "annotations": [asdict(done) for done in annotations]}, indent=2))
    raise typer.Exit(3 if any(done.reason for done in annotations) else 0)


@app.command()
def push_metric(
    repo_id: Annotated[str, typer.Argument(help="Space OWNER/NAME, NAME being the metric's; made if it is missing.")],
    metric: Annotated[str, typer.Option(help=f"The measure, from {', '.join(MEASURES)}.")] = "leep",
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
) -> None:
    """Push a measure's evaluate module as a Space, for evaluate.load("OWNER/NAME")."""
    from hf_leep import publish

    _announce(publish.push_metric(repo_id, metric, private=private or None, create_pr=create_pr))


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every stored pass and score.")] = False,
) -> None:
    """Show what the store of finished passes and scores holds, or clear it."""
    from hf_leep.store import Store
    from hf_leep.text import size

    store = Store(Store.default_root())
    usage = store.clear() if clear else store.usage()
    if usage.root is None:
        raise UserError(f"the store {Store.default_root()} cannot be used: nothing is kept")
    _say(f"{usage.root}{': removed' if clear else ''}")
    for kind, entries in usage.entries.items():
        _say(f"{kind:<12} {entries:6,}  {size(usage.num_bytes[kind]):>9}")


@app.command()
def verify(
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON to stdout and nothing else.")] = False,
) -> None:
    """Check the measures on this machine, against proved limits and independent oracles, in seconds."""
    from dataclasses import asdict

    from hf_leep.selfcheck import checks as verification

    checks = verification.verify()
    failed = sum(not check.passed for check in checks)
    if json:
        typer.echo(
            dumps([{**asdict(check), "passed": check.passed} for check in checks], ensure_ascii=False, indent=2)
        )
    else:
        _say(verification.table(checks))
        _say(f"\n{len(checks) - failed} of {len(checks)} checks passed, hf_leep {version('hf-leep')}")
    raise typer.Exit(1 if failed else 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all scored, 3 some not, 2 the call or target was wrong, 1 none scored."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; what goes wrong is one line on stderr."""
    try:
        return int(app(list(arguments), standalone_mode=False) or 0)
    except typer.TyperException as error:
        _complain(error.format_message() or "name a command; hf-leep --help lists them")
        return int(error.exit_code)
    except UserError as error:
        _complain(str(error))
        return 2
    except HfLeepError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _deliver(report: Any, output: Path | None, json: bool, stop: bool = True) -> None:
    """Save and show a report, then leave with its exit code."""
    from hf_leep.report.card.table import terminal

    if output is not None:
        report.save(output)
    if json:
        sys.stdout.buffer.write(report.to_bytes())
        sys.stdout.flush()
    _say(terminal(report.data, shutil.get_terminal_size().columns), error=json)
    if output is not None:
        _say(f"Report: {output / 'README.md'}", error=json)
    if stop:
        raise typer.Exit(report.exit_code)


def _announce(pushed: Any, error: bool = False) -> None:
    """Say where something was pushed, on one line however long, and before that what strangers may read there."""
    from hf_leep.text import plain

    if pushed.local_names:
        names = ", ".join(pushed.local_names[:4])
        rest = f" and {len(pushed.local_names) - 4} more" if len(pushed.local_names) > 4 else ""
        _complain(f"note that the page names folders of this machine: {names}{rest}")
    if pushed.private_names and not pushed.private:
        _complain(f"note that the public page names private repositories: {', '.join(pushed.private_names[:4])}")
    typer.echo(
        plain(f"{'Pushed' if pushed.changed else 'Nothing to push, all of it is there'}: {pushed.url}"), err=error
    )


def _say(what: Any, error: bool = False) -> None:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    if hasattr(stream, "reconfigure"):  # a terminal of another encoding shows ? for what it lacks
        stream.reconfigure(errors="replace")
    Console(highlight=False, stderr=error).print(what, markup=False, crop=False)


def _complain(message: str) -> None:
    """Say what is wrong, once: in the main process."""
    from hf_leep.text import plain

    if is_main():
        print(f"hf-leep: {plain(message)}", file=sys.stderr)
