"""The command line of the study: ``python -m examples.paper run …`` and ``report DIR``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from examples.paper.study import FAST
from examples.paper.tasks import EXPERIMENTS, fitted
from examples.paper.transfer import Precision, Training
from hf_leep.errors import HfLeepError, UserError

app = typer.Typer(help="Reproduce the study of the LEEP paper.", add_completion=False, no_args_is_help=True)

_DEFAULT = Training()  # unless networks in the folder were trained with other settings
_LEAST = 1e-12  # smallest learning rate
TRANSFERS = ("head-sgd", "fine-tuning")
GROUPS = {"noisy-labels": ("noisy-labels-10", "noisy-labels-20"), "all": tuple(EXPERIMENTS)}
QUICK = (
    "large-balanced",
    "large-balanced-fixed",
    "small-balanced",
    "noisy-labels-10",
    "noisy-labels-20",
    "small-imbalanced",
    "source-selection",
)


@app.command()
def run(
    dataset: Annotated[str, typer.Option(help="Target data set: Hub id, file, folder or save_to_disk folder.")],
    source: Annotated[list[str], typer.Option(help="Source checkpoint: folder or Hub id; may be repeated.")],
    output: Annotated[Path, typer.Option(help="Folder of the study; tasks finished there are not repeated.")],
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            help=f"May be repeated: {', '.join(EXPERIMENTS)}; noisy-labels; all. By default all that train no network."
        ),
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            help=f"In addition to the re-trained head; may be repeated: {', '.join(TRANSFERS)}. Not for meta-transfer "
            "and convergence, which are about one kind of transfer, and by source-selection, which uses heads alone."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help=f"Epochs of fine-tuning, {_DEFAULT.epochs} by default.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=_LEAST, help=f"Learning rate of fine-tuning, {_DEFAULT.learning_rate} by default."),
    ] = None,
    scratch_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Epochs of the reference trained from scratch, {_DEFAULT.scratch_epochs} by default."
        ),
    ] = None,
    scratch_learning_rate: Annotated[
        float | None,
        typer.Option(
            min=_LEAST, help=f"Learning rate of that reference, {_DEFAULT.scratch_learning_rate} by default."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=f"Images in a training step, {_DEFAULT.batch_size} by default.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help=f"Number type that networks compute in, {_DEFAULT.precision} by default.")
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help=f"Episodes of the meta-training of CNAPs, {_DEFAULT.episodes} by default."),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help=f"Momentum of SGD, for networks and head-sgd, {_DEFAULT.momentum} by default."
        ),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(min=0, help=f"Weight decay of networks, {_DEFAULT.weight_decay} by default.")
    ] = None,
    sgd_epochs: Annotated[
        int | None, typer.Option(min=1, help=f"Epochs of head-sgd, {_DEFAULT.sgd_epochs} by default.")
    ] = None,
    sgd_learning_rate: Annotated[
        float | None,
        typer.Option(min=_LEAST, help=f"Learning rate of head-sgd, {_DEFAULT.sgd_learning_rate} by default."),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, help="Tasks of each experiment, or as many as there are; by default 200, 100, 50 or 20."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")] = 0,
    measures: Annotated[
        str,
        typer.Option(
            help="Comma-separated, or all; added to those that the folder has. By default the slowest are left out."
        ),
    ] = ",".join(FAST),
    config: Annotated[str | None, typer.Option(help="Configuration of the data set.")] = None,
    train_split: Annotated[str, typer.Option(help="Split that tasks train on.")] = "train",
    test_split: Annotated[str, typer.Option(help="Split that accuracy is measured on.")] = "test",
    hold_out: Annotated[
        float | None,
        typer.Option(
            help="Instead of a test split: the share of each class of the training split to measure accuracy on."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label column; inferred if only one can be it.")] = None,
    input: Annotated[str | None, typer.Option(help="Image column; inferred if only one can be it.")] = None,  # noqa: A002
    workers: Annotated[int, typer.Option(min=1, help="Parallel processes, with one thread each.")] = os.cpu_count()
    or 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or mps; the best available by default; with one GPU use --workers 1.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed tasks again.")] = False,
) -> int:
    """Run experiments, or the unfinished part of them, and write the report; exit code 3 if some tasks failed."""
    from examples.paper import sources, study
    from examples.paper.report import write
    from hf_leep.measures import MEASURES, find

    chosen = list(dict.fromkeys(name for asked in experiment or QUICK for name in GROUPS.get(asked, (asked,))))
    for name in chosen:
        if name not in EXPERIMENTS:
            raise UserError(f"unknown experiment {name!r}: {', '.join((*EXPERIMENTS, *GROUPS))}")
    asked = tuple(MEASURES) if measures == "all" else tuple(find(name).name for name in measures.split(","))
    for name in transfer or ():
        if name not in TRANSFERS:
            raise UserError(f"unknown transfer {name!r}: {', '.join(TRANSFERS)}")
    if hold_out is not None and not 0 < hold_out < 1:
        raise UserError(f"--hold-out is {hold_out}; it must be a share of each class, such as 0.2")
    if "source-selection" in chosen and len({*sources.names_of(source), *study.known_sources(output)}) < 2:
        if list(experiment or ()) == ["source-selection"]:
            raise UserError("source-selection compares sources and needs at least two: repeat --source")
        if experiment:
            print("examples.paper: source-selection is left out: it needs two sources", file=sys.stderr)
        chosen.remove("source-selection")
    training = study.settled_training(
        output,
        {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "scratch_epochs": scratch_epochs,
            "scratch_learning_rate": scratch_learning_rate,
            "batch_size": batch_size,
            "precision": precision,
            "episodes": episodes,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "sgd_epochs": sgd_epochs,
            "sgd_learning_rate": sgd_learning_rate,
        },
    )
    opened = sources.open_dataset(
        sources.Dataset(dataset, config, train_split, test_split, label, input, hold_out, seed)
    )
    for name in chosen:  # raises errors before the passes are run
        fitted(EXPERIMENTS[name], opened.pool.num_classes)
    found = sources.extract(source, opened, output / "sources", device=device)
    settings = study.Settings(seed=seed, measures=asked, training=training)
    bench = study.settle(study.Bench(opened, {s.name: s for s in found}, settings, output, device))
    plan = study.planned(bench, chosen, tasks, transfer or ())
    failed = study.run(bench, plan, workers=workers, retry=retry_failed)
    write(output)
    print(f"Report: {output / 'README.md'}")
    if failed:
        print(
            f"examples.paper: {failed} of {sum(map(len, plan.values()))} tasks failed, see the report; "
            "--retry-failed runs them again",
            file=sys.stderr,
        )
    return 3 if failed else 0


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Write the report again from the finished tasks."""
    from examples.paper.report import write

    write(folder)
    print(f"Report: {folder / 'README.md'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 3 if some tasks failed, or 1 or 2 after one line on stderr."""
    try:
        return int(app(None if arguments is None else list(arguments), standalone_mode=False) or 0)
    except typer.TyperException as error:
        print(f"examples.paper: {error.format_message()}", file=sys.stderr)
        return int(error.exit_code)
    except HfLeepError as error:
        print(f"examples.paper: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("examples.paper: interrupted; the same command continues from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
