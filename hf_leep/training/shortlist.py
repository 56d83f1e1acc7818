"""Which candidates of a ranking are fine-tuned, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from hf_leep import hub
from hf_leep.errors import CandidateError, UserError, option
from hf_leep.report.candidate_schema import CandidateData

if TYPE_CHECKING:
    from torch import nn

    from hf_leep.runs.plan import ModelInMemory


_T = TypeVar("_T")


def shortlist(order: Sequence[_T], top: int, second_opinion: _T | None) -> list[_T]:
    """The first candidates of an order, and the first by a second opinion if it is none of them.

    Args:
        order: the candidates, best first.
        top: how many to take from the order.
        second_opinion: the first by the second opinion; None where there is none.
    """
    chosen = list(order[:top])
    if second_opinion is not None and second_opinion not in chosen:
        chosen.append(second_opinion)
    return chosen


def by_name(models: Sequence[ModelInMemory], candidates: Sequence[CandidateData]) -> dict[str, ModelInMemory]:
    """Models in memory by the names that they were ranked under.

    Args:
        models: ``(name, model, processor)`` of each.
        candidates: those of the report.

    Raises:
        UserError: one has another form, or was not ranked as a model in memory.
    """
    known = {c["id"] for c in candidates if c["revision"] is None}
    found: dict[str, ModelInMemory] = {}
    for model in models:
        if not isinstance(model, tuple) or len(model) != 3:
            raise UserError(f"{option('models')} takes (name, model, processor), got {type(model).__name__}")
        if model[0] not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise UserError(
                f"{option('models')} holds {model[0]!r}, but the models in memory that were ranked are {listed}"
            )
        found[model[0]] = model
    return found


def in_memory(candidate: CandidateData, models: Mapping[str, ModelInMemory]) -> ModelInMemory:
    """The model in memory that a candidate was.

    Raises:
        CandidateError: it is not given, or is another model.
    """
    if candidate["id"] not in models:
        raise CandidateError(
            "it was a model in memory: give it again, hf_leep.validate(report, models=[(name, model, processor)])"
        )
    model = models[candidate["id"]]
    size = sum(p.numel() for p in model[1].parameters())
    if candidate["num_parameters"] not in (None, size):
        raise CandidateError(
            f"another model was ranked: it had {candidate['num_parameters']:,} parameters, not {size:,}"
        )
    return model


def resolved(candidate: CandidateData, client: hub.Client) -> hub.Snapshot:
    """The files of a candidate, as it was ranked.

    Args:
        candidate: the candidate, not in memory.
        client: how to reach the Hub.

    Raises:
        CandidateError: they are gone, or have changed.
    """
    revision = str(candidate["revision"])
    local = revision.startswith("sha256:")
    snapshot = hub.resolve(candidate["id"] if local else f"{candidate['id']}@{revision}", client)
    if snapshot.candidate.revision != revision:
        raise CandidateError("the folder has changed since it was ranked: rank it again")
    return snapshot


def identity(candidate: CandidateData, models: Mapping[str, ModelInMemory]) -> str:
    """What tells a candidate from all others, in this and later runs: of a model in memory, a hash of its weights."""
    if candidate["revision"] is not None:
        return f"{candidate['id']}@{candidate['revision']}"
    model = models.get(candidate["id"])
    return candidate["id"] if model is None else f"{candidate['id']}@weights:{_weights_digest(model[1])}"


def _weights_digest(model: nn.Module) -> str:
    import torch

    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
