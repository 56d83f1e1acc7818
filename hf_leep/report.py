"""The report: plain data, a folder of files made from it, and back."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hf_leep import card, meaning
from hf_leep.errors import UserError, one_line
from hf_leep.measures import find
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.notes import notes, trained_on_target
from hf_leep.ranking import AUTO, half_width
from hf_leep.records import Calibration, Explanation, Place, Race, Ranking, Result, Score, Target
from hf_leep.verify import Certificate

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """A ranking with everything needed to read, check and repeat it.

    Attributes:
        data: the content of report.json (schema_version 1): plain dicts, lists, strings and finite numbers.
    """

    data: Mapping[str, Any]

    @classmethod
    def build(
        cls,
        target: Target,
        results: Sequence[Result],
        ranking: Ranking,
        *,
        measures: Sequence[str],
        versions: Mapping[str, str],
        command: Sequence[str] | None,
        seconds: float,
        race: Race | None = None,
        num_headless: int | None = None,
        certificate: Certificate | None = None,
    ) -> Report:
        """Put the records together as plain data.

        Args:
            target: the target.
            results: one a candidate.
            ranking: their order.
            measures: the measures asked for.
            versions: package → version.
            command: the command line, word by word, if there was one.
            seconds: wall time of the whole run.
            race: how the race went, if it was one.
            num_headless: with ``sort_by="auto"``, the candidates without a head that the order was chosen for.
            certificate: what the checks of the measures gave on this machine.
        """
        ranked = [_candidate(results[place.result], target, place, ranking, measures) for place in ranking.places]
        others = [_candidate(results[i], target, None, ranking, measures) for i in ranking.unranked]
        voters = meaning.voters(measures)
        # Scores of fewer rows are others: only those of all rows are compared.
        whole = [replace(r, scores={}) if r.num_examples is not None else r for r in results]
        standings = meaning.consensus(whole, voters) if len(voters) > 1 else [None] * len(results)
        for index, row in zip(_order(ranking), ranked + others, strict=True):
            standing = standings[index]
            row["consensus"] = asdict(standing) if standing else None
        headless = sum(results[i].headless for i in ranking.unranked)
        return cls(
            {
                "schema_version": SCHEMA_VERSION,
                "target": {
                    "dataset": target.dataset,
                    "config": target.config,
                    "split": target.split,
                    "revision": target.revision,
                    "num_examples": len(target.labels),
                    "num_classes": len(target.class_names),
                    "class_entropy": target.class_entropy,
                    "leave_one_out_floor": floor(target.labels),
                    "seed": target.seed,
                    "num_sentences": None if target.sentences is None else len(target.row_ids),
                    "num_rows": target.num_rows,
                    "streamed": target.streamed,
                    "num_duplicates": target.num_duplicates,
                    "fingerprint": target.fingerprint,
                    "modality": target.modality,
                    "input_columns": list(target.input_columns),
                    "label_column": target.label_column,
                    "class_names": list(target.class_names),
                    "warnings": list(target.warnings),
                },
                "measures": list(measures),
                "sort_by": ranking.sort_by,
                "checked_by": ranking.checked_by,
                "num_pairs": ranking.num_pairs,
                "num_disagreements": ranking.num_disagreements,
                "best_by": ranking.best_by,
                "settling": _settling(ranking, len(target.labels)),
                "consensus": {"measures": list(voters)} if len(voters) > 1 else None,
                "agreement": [
                    {**asdict(pair), "measures": list(pair.measures)} for pair in meaning.agreements(whole, measures)
                ],
                "calibration": _reordered(results, ranking),
                "size": _size(whole, ranking),
                "baselines": [asdict(baseline) for baseline in meaning.baselines(whole, ranking)],
                "candidates": ranked + others,
                "auto": {"num_headless": num_headless} if num_headless is not None else None,
                "race": {**asdict(race), "looks": list(race.looks)} if race else None,
                "certificate": _certificate(certificate) if certificate else None,
                "headless": {"count": headless, "command": _on_features(command) if headless else None},
                "run": {
                    "versions": dict(versions),
                    "command": shlex.join(command) if command else None,
                    "seconds": round(seconds, 3),
                },
            }
        )

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The candidates, best first, then those without a rank."""
        return list(self.data["candidates"])

    def explained(self, name: str | None = None) -> dict[str, Any]:
        """The candidate of that name, which has an explanation.

        Args:
            name: its id, what the report calls it, or its number in the ranking; by default the first one.

        Raises:
            UserError: no such candidate, or it has no explanation.
        """
        named = list(zip(card.short_names(self.candidates), self.candidates, strict=True))
        wanted = "1" if name is None else name
        found = [c for short, c in named if wanted in (c["id"], short)]
        found += [c for _, c in named if c["rank"] is not None and str(c["rank"]) == wanted]
        if not found and name is None:
            raise UserError("no candidate has a rank: name the one to explain")
        if not found:
            known = ", ".join(short for short, _ in named[:8]) + (" and others" if len(named) > 8 else "")
            raise UserError(f"no candidate {wanted!r} in the report: it has {known}")
        if found[0].get("explanation"):
            return found[0]
        reason = card.unexplained(self.data, found[0])
        others = [short for short, c in named if c["rank"] is not None and c.get("explanation")]
        instead = f"; the best candidate with an explanation is {others[0]}" if others else ""
        raise UserError(f"nothing explains {found[0]['id']}: {reason}{instead}")

    @property
    def exit_code(self) -> int:
        """0 if every candidate has a rank, 3 if some have none, 1 if none has one."""
        ranks = [candidate["rank"] for candidate in self.candidates]
        if all(rank is None for rank in ranks):
            return 1
        return 3 if None in ranks else 0

    def to_json(self) -> str:
        """The text of report.json, with a newline at the end."""
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _repr_html_(self) -> str:
        """The ranking as a table, for a notebook."""
        return card.notebook(self.data)

    def __repr__(self) -> str:
        """One line; the content is in ``data``, a table in a notebook."""
        ranked = sum(candidate["rank"] is not None for candidate in self.candidates)
        return f"<hf_leep report: {ranked} of {len(self.candidates)} candidates ranked by {self.data['sort_by']}>"

    @staticmethod
    def check_folder(folder: str | Path) -> None:
        """Raise unless a report may be written there: it must not replace a README.md that is no report's.

        Raises:
            UserError: an empty name, a file in its place, or a README.md without a report.json beside it.
        """
        folder = Path(folder)
        if str(folder) in ("", "."):
            raise UserError("the report needs a folder of its own: --output DIR")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: the report needs a folder")
        if (folder / "README.md").exists() and not (folder / "report.json").exists():
            raise UserError(f"{folder} holds a README.md that is no report's: give the report a folder of its own")

    def to_bytes(self) -> bytes:
        """The bytes of report.json: UTF-8; a path that is no UTF-8 as JSON escapes."""
        return self.to_json().encode("utf-8", "backslashreplace")

    def save(self, folder: str | Path) -> Path:
        """Write report.json, README.md, scores.parquet and plots/ into a folder, each file whole or not at all.

        Args:
            folder: made if it is missing; files of an earlier report are replaced.

        Raises:
            UserError: the folder cannot be written.
        """
        self.check_folder(folder)
        folder = Path(folder)
        try:
            (folder / "plots").mkdir(parents=True, exist_ok=True)
            # The truth first: whatever happens to the pictures, the scores are on disk.
            _write(folder / "report.json", self.to_bytes())
            files = card.render(self.data)
            for name, content in files.items():
                _write(folder / name, content)
            for name in card.FILES - set(files):  # of an earlier report
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write the report to {folder}: {error.strerror or error}") from None
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read a report back from its folder.

        Raises:
            UserError: there is no readable report.json of a known schema version.
        """
        path = Path(folder) / "report.json"
        if Path(folder).is_file():
            raise UserError(f"{folder} is a file: name the folder that its report.json is in")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}") from None
        found = data.get("schema_version") if isinstance(data, dict) else None
        if found != SCHEMA_VERSION:
            raise UserError(f"{path} has schema_version {found!r}; this hf_leep reads {SCHEMA_VERSION}")
        try:
            card.render(data)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UserError(f"{path} is damaged: {type(error).__name__} {one_line(error)}") from None
        return cls(data)


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {**asdict(certificate), "failed": list(certificate.failed), "unchecked": list(certificate.unchecked)}


def _candidate(
    result: Result, target: Target, place: Place | None, ranking: Ranking, measures: Sequence[str]
) -> dict[str, Any]:
    ok = result.reason is None
    check = result.scores.get(ranking.checked_by) if ranking.checked_by else None
    missing = result.scores.get(ranking.sort_by)
    return {
        "id": result.candidate.id,
        "revision": result.candidate.revision,
        "status": "ok" if ok else "failed",
        "reason": result.reason or (missing.reason if missing and place is None else None),
        "rank": place.rank if place else None,
        "tie_group": place.tie_group if place else None,
        "rank_interval": list(place.rank_interval) if place and place.rank_interval else None,
        "probability_best": place.probability_best if place else None,
        "num_source_classes": result.num_source_classes,
        "num_parameters": result.candidate.num_parameters,
        "downloads": result.candidate.downloads,
        "effective_source_classes": result.effective_source_classes,
        "num_features": result.num_features,
        "headless": result.headless,
        "task": result.candidate.task,
        "license": result.candidate.license,
        "gated": result.candidate.gated,
        "private": result.candidate.private,
        "trained_on": list(result.candidate.trained_on),
        "trained_on_target": trained_on_target(result.candidate, target) is not None,
        "notes": list(notes(result.candidate, target)),
        "scores": {name: _score(result.scores[name]) for name in measures} if ok else {},
        "calibration": _calibration(result.meaning.calibration),
        "explanation": _explanation(result.meaning.explanation, result.candidate.source_labels, target),
        "explained": _explained(result, target),
        "check": _score(check) if ok and check else None,
        "behind_best": _behind(place) if place else None,
        "interval": _interval(ranking.sort_by, result.scores[ranking.sort_by]) if place else None,
        "run": {**asdict(result.run), "from_store": result.from_store} if result.run else None,
        "num_examples": None if not ok else result.num_examples or len(target.labels),
        "stopped": asdict(result.stop) if result.stop else None,
    }


def _order(ranking: Ranking) -> list[int]:
    """The results as a report lists them: best first, then those without a rank."""
    return [*(place.result for place in ranking.places), *ranking.unranked]


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    return {**asdict(calibration), "curve": [list(point) for point in calibration.curve]} if calibration else None


def _explained(result: Result, target: Target) -> float | None:
    """(T + Ĥ(Y))/Ĥ(Y) with T the leave-one-out LEEP, asked for or not; below 0 where noise is better."""
    score, calibration = result.scores.get("leave-one-out-leep"), result.meaning.calibration
    value = score.value if score else calibration.as_is if calibration else None
    return None if value is None else (value + target.class_entropy) / target.class_entropy


def _explanation(
    explanation: Explanation | None, source_labels: Sequence[str], target: Target
) -> dict[str, Any] | None:
    """An explanation with the names of classes and the rows of examples in place of their positions."""
    if explanation is None:
        return None

    def source(index: int) -> str:
        return source_labels[index] if index < len(source_labels) else f"output {index}"

    def row(index: int) -> dict[str, int | None]:
        if target.sentences is None:
            return {"row": int(target.row_ids[index]), "word": None}
        word = None if target.words is None else int(target.words[index])
        return {"row": int(target.row_ids[target.sentences[index]]), "word": word}

    return {
        "prior_weight": explanation.prior_weight,
        "classes": [
            {
                "name": target.class_names[served.index],
                "count": served.count,
                "log_prediction": served.log_prediction,
                "gain": served.gain,
                "sources": [
                    {"name": source(s.index), "weight": s.weight, "conditional": s.conditional, "share": s.share}
                    for s in served.sources
                ],
            }
            for served in explanation.classes
        ],
        "num_left_out": explanation.num_left_out,
        "source_classes": [
            {
                "name": source(used.index),
                "mass": used.mass,
                "targets": [
                    {"name": target.class_names[told.index], "conditional": told.conditional} for told in used.targets
                ],
            }
            for used in explanation.source_classes
        ],
        "num_sources_left_out": explanation.num_sources_left_out,
        "examples": [
            {
                **row(example.index),
                "label": target.class_names[target.labels[example.index]],
                "prediction": example.prediction,
                "likely": target.class_names[example.likely],
                "likely_prediction": example.likely_prediction,
                "source": source(example.source),
                "source_probability": example.source_probability,
            }
            for example in explanation.examples
        ],
    }


def _reordered(results: Sequence[Result], ranking: Ranking) -> dict[str, int]:
    """How many pairs of ranked candidates change places when each is calibrated."""
    known = (results[place.result].meaning.calibration for place in ranking.places)
    num_reordered, num_pairs = meaning.reordered([calibration for calibration in known if calibration])
    return {"num_pairs": num_pairs, "num_reordered": num_reordered}


def _size(results: Sequence[Result], ranking: Ranking) -> dict[str, Any]:
    """The best candidate of each size, by its rank, and how far the order is one by size."""
    found = meaning.sizes(results, ranking)
    ranks = {place.result: place.rank for place in ranking.places}
    bands = [
        {
            "from": band.low,
            "below": band.high,
            "num_candidates": band.num_candidates,
            "best": {"id": results[band.best].candidate.id, "rank": ranks[band.best]},
        }
        for band in found.bands
    ]
    return {
        "bands": bands,
        "num_unknown": found.num_unknown,
        "kendall": found.kendall,
        "num_candidates": found.num_candidates,
    }


def _settling(ranking: Ranking, num_examples: int) -> list[dict[str, Any]]:
    """About how many examples would settle the first places; None where no number would."""
    return [
        {
            "places": settling.places,
            "num_examples": None if settling.times is None else math.ceil(num_examples * settling.times),
        }
        for settling in ranking.settling
    ]


def _behind(place: Place) -> dict[str, Any]:
    return {
        "value": place.behind_best,
        "standard_error": place.behind_best_error,
        "half_width": place.behind_best_half_width,
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "standard_error": score.standard_error,
        "half_width": half_width(score),
        "shuffled": score.shuffled,
        "warnings": list(score.warnings),
        "reason": score.reason,
    }


def _interval(measure: str, score: Score) -> list[float] | None:
    """95 % interval for the measure's expectation at this n; a score in nats of probabilities is never above 0."""
    half = half_width(score)
    if score.value is None or half is None:
        return None
    high = score.value + half
    return [score.value - half, min(high, 0.0) if find(measure).needs == "probabilities" else high]


def _on_features(command: Sequence[str] | None) -> str:
    """The same command on a measure that all candidates can have."""
    if not command:
        return f'hf_leep.rank(..., sort_by="{AUTO}")'
    kept: list[str] = []
    words = iter(command)
    for word in words:
        option, _, value = word.partition("=")
        if option == "--sort-by":
            if not value:
                next(words, None)
        elif option == "--output":
            kept += ["--output", f"{(value or next(words, '')).rstrip('/')}-{AUTO}"]
        else:
            kept.append(word)
    return shlex.join([*kept, "--sort-by", AUTO])


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
