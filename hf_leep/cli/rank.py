"""The ``rank`` command."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hf_leep.cli.arguments import measures_that_begin_with, orders_that_begin_with
from hf_leep.cli.output import columns, is_quiet, say, show_report
from hf_leep.cli.pushing import Push, PushOptions
from hf_leep.cli.records import advise, cluster_of, race_of, search_of
from hf_leep.errors import UserError
from hf_leep.inference.processes import is_main
from hf_leep.measures import MEASURES
from hf_leep.options import (
    Device,
    Dtype,
    Execution,
    HubAccess,
    ReportRepoType,
    SearchOrder,
)

if TYPE_CHECKING:
    from hf_leep.runs.plan import Plan

# Panels of the help page.
_DATA, _NAME, _FIND, _BRING = "Data set", "Candidates", "Find candidates on the Hub", "Download candidates"
_ORDER, _RUN, _REPORT = "Scores and order", "How it runs", "Report"


def rank(
    dataset: Annotated[
        str, typer.Option(help="Data set: Hub id, file, folder or save_to_disk folder.", rich_help_panel=_DATA)
    ],
    config: Annotated[str | None, typer.Option(help="Configuration of the data set.", rich_help_panel=_DATA)] = None,
    split: Annotated[
        str | None, typer.Option(help="Split, or a slice of one, such as train[:20%].", rich_help_panel=_DATA)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of a data set on the Hub.", rich_help_panel=_DATA)
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Label column; found where it is clear.", rich_help_panel=_DATA)
    ] = None,
    input: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="Input column, or two columns of texts as A,B; found where it is clear.", rich_help_panel=_DATA
        ),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="One or several: local folders or ids on the Hub.", rich_help_panel=_NAME)
    ] = None,
    models_file: Annotated[
        Path | None, typer.Option(help="File with one candidate per line.", rich_help_panel=_NAME)
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Candidates from a collection: owner/title-id.", rich_help_panel=_FIND)
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="Candidates from a search on the Hub: part of the name, '' for any.", rich_help_panel=_FIND),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Hub task; the one for your kind of data by default.", rich_help_panel=_FIND)
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
        int | None, typer.Option(help="Fewest downloads in the last month.", rich_help_panel=_FIND)
    ] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Data set that they were trained on, by their cards.", rich_help_panel=_FIND)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many to take; 20 by default.", rich_help_panel=_FIND)] = None,
    sort: Annotated[
        SearchOrder | None,
        typer.Option(
            help="What comes first: most downloads (by default), likes, trending_score, last_modified or created_at.",
            rich_help_panel=_FIND,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be run and downloaded, then stop.", rich_help_panel=_BRING),
    ] = False,
    max_download: Annotated[
        str | None, typer.Option(help="Limit, such as 20GB: candidates beyond it are skipped.", rich_help_panel=_BRING)
    ] = None,
    prefetch: Annotated[
        int, typer.Option(help="Candidates to download ahead while one runs.", rich_help_panel=_BRING)
    ] = 1,
    evict: Annotated[
        bool,
        typer.Option("--evict", help="Remove each download of this run once it is scored.", rich_help_panel=_BRING),
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
        str,
        typer.Option(
            help=f"Separated by commas: {', '.join(MEASURES)}. The first three by default.",
            show_default=False,
            autocompletion=measures_that_begin_with,
            rich_help_panel=_ORDER,
        ),
    ] = "leep,leave-one-out-leep,nce",
    sort_by: Annotated[
        str | None,
        typer.Option(
            help="Measure to order by, the first one by default; auto for the one that chose best in our trials.",
            autocompletion=orders_that_begin_with,
            rich_help_panel=_ORDER,
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Run all candidates on growing samples, and stop clear losers early.",
            rich_help_panel=_ORDER,
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="With --race: probability that none of the truly best candidates is stopped; 0.95 by default.",
            rich_help_panel=_ORDER,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="With --race: number of best candidates to find; 1 by default.", rich_help_panel=_ORDER),
    ] = None,
    max_samples: Annotated[
        int | None,
        typer.Option(
            help="Rank on a stratified sample of this many rows; for labelled words, of this many random sentences.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Read only --max-samples rows of a data set on the Hub; the sample is then not stratified.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sample.", rich_help_panel=_DATA)] = 0,
    skip_bad_rows: Annotated[
        int,
        typer.Option(help="Leave out up to this many rows that cannot be read or processed.", rich_help_panel=_DATA),
    ] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per batch; chosen by timing by default.", rich_help_panel=_RUN)
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="cpu, cuda or mps; the best available by default.", rich_help_panel=_RUN)
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Number type to compute in: float32, bfloat16 or float16.", rich_help_panel=_RUN)
    ] = "float32",
    compile: Annotated[  # noqa: A002
        bool,
        typer.Option(
            "--compile", help="Compile each model first (torch.compile): pays on many rows.", rich_help_panel=_RUN
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that read and decode rows; chosen by timing by default.", rich_help_panel=_RUN),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="How many candidates to run at the same time, each in its own process.", rich_help_panel=_RUN
        ),
    ] = 1,
    fast_decode: Annotated[
        bool,
        typer.Option(
            "--fast-decode", help="Decode large JPEGs at reduced size, for all candidates.", rich_help_panel=_RUN
        ),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where candidates run: local, or ray for a Ray cluster.", rich_help_panel=_RUN),
    ] = "local",
    resources: Annotated[
        str | None,
        typer.Option(help="With --engine ray: what a candidate needs, such as cpus=2,gpus=1.", rich_help_panel=_RUN),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --engine ray: address of the cluster; RAY_ADDRESS by default, else this machine.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Run every pass again, and keep none in the store.", rich_help_panel=_RUN),
    ] = False,
    candidate_timeout: Annotated[
        str,
        typer.Option(
            help="Give up on a candidate after this long without progress: 90s, 30m or 1h.", rich_help_panel=_RUN
        ),
    ] = "30m",
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Retry candidates that crashed the process of an earlier run.", rich_help_panel=_RUN
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the report: README.md, report.json, plots.", rich_help_panel=_REPORT),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="With --output: keep small pictures of each candidate's hardest images, for report.html.",
            rich_help_panel=_REPORT,
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            help="Repository OWNER/NAME on the Hub to push the report to, when it is done.", rich_help_panel=_REPORT
        ),
    ] = None,
    repo_type: Annotated[
        ReportRepoType, typer.Option(help="Type of that repository: dataset or model.", rich_help_panel=_REPORT)
    ] = "dataset",
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.", rich_help_panel=_REPORT)
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Push as a pull request instead of a commit.", rich_help_panel=_REPORT)
    ] = False,
    space: Annotated[
        bool,
        typer.Option("--space", help="Push report.html as a static Space OWNER/NAME, too.", rich_help_panel=_REPORT),
    ] = False,
    push_thumbnails: Annotated[
        bool,
        typer.Option(
            "--push-thumbnails",
            help="Push the thumbnails, too. They are pictures of your rows.",
            rich_help_panel=_REPORT,
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print report.json to stdout, everything else to stderr.", rich_help_panel=_REPORT
        ),
    ] = False,
) -> None:
    """Rank checkpoints for a labelled data set, with one forward pass each and no training."""
    from hf_leep import api
    from hf_leep.report import Report
    from hf_leep.report.card.plan import planned
    from hf_leep.runs import interruptions

    if output is not None and is_main():
        Report.check_folder(output)
    options = PushOptions(
        private=private or None, create_pr=create_pr, repo_type=repo_type, space=space, push_thumbnails=push_thumbnails
    )
    push = Push(push_to_hub, options)
    push.check(thumbnails, ask=is_main())
    if thumbnails and output is None:
        raise UserError("--thumbnails are kept in the folder of the report: add --output DIR")
    names = [*(models or []), *(api.read_names(models_file) if models_file else [])]
    chosen = [name for name in measures.split(",") if name.strip()]
    execution = Execution(
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        compile=compile,
        workers=workers,
        jobs=jobs,
        fast_decode=fast_decode,
        cache=not no_cache,
        candidate_timeout=candidate_timeout,
        retry=retry,
    )
    hub = HubAccess(
        cache_dir=cache_dir, allow_pickle=allow_pickle, max_download=max_download, prefetch=prefetch, evict=evict
    )
    found = search_of(
        text=search,
        task=task,
        author=author,
        license=license,
        max_params=max_params,
        min_downloads=min_downloads,
        trained_on=trained_on,
        library=library,
        limit=limit,
        sort=sort,
    )
    racing, cluster = race_of(race, confidence, top), cluster_of(engine, ray_address, resources)
    command = ["hf-leep", *sys.argv[1:]]
    if dry_run:
        plan = api.plan(
            names,
            dataset,
            config=config,
            split=split,
            revision=revision,
            label=label,
            input=input,
            measures=chosen,
            sort_by=sort_by,
            max_samples=max_samples,
            streaming=streaming,
            seed=seed,
            skip_bad_rows=skip_bad_rows,
            execution=execution,
            hub=hub,
            search=found,
            collection=collection,
            race=racing,
            cluster=cluster,
            progress=not json,
            command=command,
        )
        if json:
            typer.echo(dumps(plan.data, ensure_ascii=False, indent=2))
        say(planned(plan.data, columns(error=json)), error=json)
        advise(found, plan.exit_code, any(step.headless for step in plan.steps))
        raise typer.Exit(plan.exit_code)
    report = api.rank(
        names,
        dataset,
        config=config,
        split=split,
        revision=revision,
        label=label,
        input=input,
        measures=chosen,
        sort_by=sort_by,
        max_samples=max_samples,
        streaming=streaming,
        seed=seed,
        skip_bad_rows=skip_bad_rows,
        execution=execution,
        hub=hub,
        search=found,
        collection=collection,
        race=racing,
        cluster=cluster,
        on_plan=_show_plan,
        thumbnails=thumbnails,
        progress=not json,
        command=command,
    )
    if not is_main():  # only the main process writes and prints
        raise typer.Exit
    with interruptions.held():
        show_report(report, output, json)  # before the push, which may fail
        advise(found, report.exit_code, report.data["headless"]["count"] > 0)
    if interruptions.came():
        raise typer.Exit(report.exit_code)
    push.run(report, json)
    raise typer.Exit(report.exit_code)


def _show_plan(plan: Plan) -> None:
    """Show a plan before it is run, if it says what is not obvious and the report does not say right after it."""
    from hf_leep.report.card.plan import planned

    runs = any(one["action"] != "skip" or one["for_features"] for one in plan.data["candidates"])
    if plan.worth_showing and runs and not is_quiet():
        say(planned(plan.data, columns(error=True)), error=True)
