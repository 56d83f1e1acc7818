"""A data set through a classifier, as the tests of all modalities run it."""

from hf_leep import data
from hf_leep.inference import forward
from hf_leep.models import MODALITIES
from hf_leep.records import Candidate


def extract(classifier, dataset, batch_size=8, inputs=None, **options):
    """The extraction on a CPU."""
    target, rows = data.load(dataset, MODALITIES, inputs=inputs)
    return forward.extract(
        classifier,
        Candidate("x"),
        rows,
        target.labels,
        on=forward.accelerator("cpu"),
        batch_size=batch_size,
        advance=lambda _rows: None,
        **options,
    )
