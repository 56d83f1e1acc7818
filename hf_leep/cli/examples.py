"""The examples at the end of each help page."""

from __future__ import annotations

_LINES = {
    "rank": (
        "hf-leep rank --dataset my/images --split train --models microsoft/resnet-50 ./mine --output report",
        "hf-leep rank --dataset questions.csv --models-file candidates.txt --sort-by auto --output report",
        "hf-leep rank --dataset my/images --search vit --max-params 100M --limit 50 --dry-run",
    ),
    "demo": ("hf-leep demo --output hf-leep-demo",),
    "card": ("hf-leep card report",),
    "explain": ("hf-leep explain report", "hf-leep explain report 2 --all"),
    "validate": ("hf-leep validate report --top 5", "hf-leep validate report --fine-tune --top 3 --budget 20m"),
    "push": ("hf-leep push report OWNER/NAME", "hf-leep push report OWNER/NAME --space"),
    "push-metric": ("hf-leep push-metric OWNER/leep", "hf-leep push-metric OWNER/nce --metric nce"),
    "cache": ("hf-leep cache", "hf-leep cache --clear"),
    "verify": ("hf-leep verify",),
    "doctor": ("hf-leep doctor",),
}

# Paragraphs, because a help page joins the lines of one.
EXAMPLES = {command: "\n\n".join(["Examples:", *lines]) for command, lines in _LINES.items()}
