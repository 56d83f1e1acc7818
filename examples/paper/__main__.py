"""The command line of the study: ``python -m examples.paper run …`` and ``report DIR``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from examples.paper.study import FAST
from examples.paper.tasks import EXPERIMENTS
from examples.paper.transfer import Precision, Training
from hf_leep.errors import HfLeepError, UserError

app = typer.Typer(help="Reproduce the study of the LEEP paper.", add_completion=False, no_args_is_help=True)

_TRAINING = Training()
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
    output: Annotated[Path, typer.Option(help="Folder of the study; what is finished there is not repeated.")],
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            help=f"May be repeated: {', '.join(EXPERIMENTS)}; noisy-labels; all. All that trains no network."
        ),
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(help=f"Beside the re-trained head; may be repeated: {', '.join(TRANSFERS)}."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of fine-tuning.")] = _TRAINING.epochs,
    learning_rate: Annotated[float, typer.Option(help="Of fine-tuning.")] = _TRAINING.learning_rate,
    scratch_epochs: Annotated[
        int, typer.Option(help="Of the reference that is trained from scratch.")
    ] = _TRAINING.scratch_epochs,
    scratch_learning_rate: Annotated[float, typer.Option(help="Of that reference.")] = _TRAINING.scratch_learning_rate,
    batch_size: Annotated[int, typer.Option(help="Images a step of training.")] = _TRAINING.batch_size,
    precision: Annotated[Precision, typer.Option(help="What networks compute in.")] = _TRAINING.precision,
    episodes: Annotated[int, typer.Option(help="Of the meta-training of CNAPs.")] = _TRAINING.episodes,
    tasks: Annotated[int | None, typer.Option(help="Tasks of each experiment; 200, 100 or 20 by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    measures: Annotated[str, typer.Option(help="Comma-separated, or all; the slowest are left out.")] = ",".join(FAST),
    config: Annotated[str | None, typer.Option(help="Configuration of the data set.")] = None,
    train_split: Annotated[str, typer.Option(help="Split that tasks train on.")] = "train",
    test_split: Annotated[str, typer.Option(help="Split that accuracy is measured on.")] = "test",
    label: Annotated[str | None, typer.Option(help="Label column; inferred where it is clear.")] = None,
    input: Annotated[str | None, typer.Option(help="Image column; inferred where it is clear.")] = None,  # noqa: A002
    workers: Annotated[int, typer.Option(help="Parallel processes, of one thread each.")] = os.cpu_count() or 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or mps; the best at hand by default; on one GPU, --workers 1.")
    ] = None,
) -> None:
    """Run experiments, or what is left of them, and write the report."""
    from examples.paper import sources, study
    from examples.paper.report import write
    from hf_leep.measures import MEASURES, find

    chosen = [name for asked in experiment or QUICK for name in GROUPS.get(asked, (asked,))]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise UserError(f"unknown experiment {name!r}: {', '.join((*EXPERIMENTS, *GROUPS))}")
    if len(source) == 1 and not experiment:
        chosen.remove("source-selection")
    asked = tuple(MEASURES) if measures == "all" else tuple(find(name).name for name in measures.split(","))
    for name in transfer or ():
        if name not in TRANSFERS:
            raise UserError(f"unknown transfer {name!r}: {', '.join(TRANSFERS)}")
    training = Training(epochs, learning_rate, scratch_epochs, scratch_learning_rate, batch_size, precision, episodes)
    settings = study.Settings(seed=seed, measures=asked, training=training)
    opened = sources.open_dataset(sources.Dataset(dataset, config, train_split, test_split, label, input))
    found = sources.extract(source, opened, output / "sources", device=device)
    bench = study.Bench(opened, {s.name: s for s in found}, settings, output, device)
    study.settle(bench)
    plan = study.planned(bench, chosen, tasks, transfer or ())
    study.run(bench, plan, workers=workers)
    write(output)
    print(f"Report: {output / 'README.md'}")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Write the report again from the finished tasks."""
    from examples.paper.report import write

    write(folder)
    print(f"Report: {folder / 'README.md'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0, or one line on stderr and 1 or 2."""
    try:
        return int(app(None if arguments is None else list(arguments), standalone_mode=False) or 0)
    except typer.TyperException as error:
        print(f"examples.paper: {error.format_message()}", file=sys.stderr)
        return int(error.exit_code)
    except HfLeepError as error:
        print(f"examples.paper: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("examples.paper: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
