"""A Space that shows any report that `hf-leep push` has put on the Hub, by the name of its repository.

What is on the Hub was written by anybody. Of a repository, this page reads report.json alone, checks it against its
schema, and renders it anew; it never shows the HTML of others. The result stands in a frame without any rights.
"""

import html
import re
import tempfile
from pathlib import Path

import gradio as gr
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from hf_leep.errors import UserError
from hf_leep.report import Report
from hf_leep.report.card import without_paths
from hf_leep.report.html import interactive

MOST_BYTES = 64_000_000  # of a report.json
SECONDS = 20  # that the Hub may take to answer
KINDS = {"datasets/": "dataset", "spaces/": "space", "models/": "model"}
INTRODUCTION = """# Checkpoints ranked by hf_leep

Type the name of a repository that `hf-leep push` has made, such as `OWNER/NAME`, or paste its address."""


class NotShownError(Exception):
    """Why there is no page, in words for the visitor."""


def place(typed: str) -> tuple[str, list[str]]:
    """Read the name or the address of a repository; return OWNER/NAME and the kinds that it may be of.

    Raises:
        NotShownError: it is neither.
    """
    name = re.split(r"[?#]", typed.strip(), maxsplit=1)[0]
    for start in (constants.ENDPOINT, "https://huggingface.co", "huggingface.co", "hf:/"):
        name = name.removeprefix(f"{start}/")
    kinds = ["dataset", "model"]
    for start, kind in KINDS.items():
        if name.startswith(start):
            name, kinds = name.removeprefix(start), [kind]
    repo_id = "/".join(name.rstrip("/").split("/")[:2])
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        repo_id = ""
    if "/" not in repo_id:
        raise NotShownError("This is not the name of a repository: type OWNER/NAME, or paste an address of the Hub.")
    return repo_id, kinds


def load(repo_id: str, kind: str) -> Report | None:
    """Read the report in a public repository; None if there is no such repository that everybody may read.

    Args:
        repo_id: OWNER/NAME.
        kind: ``dataset``, ``model`` or ``space``.

    Raises:
        NotShownError: it has no report, or one that cannot be read.
    """
    try:
        # Without a token, even if the Space has one: a visitor must not read what only its owner may read.
        found = get_hf_file_metadata(hf_hub_url(repo_id, "report.json", repo_type=kind), token=False, timeout=SECONDS)
        if found.size is None or found.size > MOST_BYTES:
            raise NotShownError(f"The report.json of {repo_id} is larger than {MOST_BYTES // 1_000_000} MB.")
        with tempfile.TemporaryDirectory() as folder:
            path = hf_hub_download(
                repo_id,
                "report.json",
                repo_type=kind,
                revision=found.commit_hash,
                token=False,
                cache_dir=folder,
                etag_timeout=SECONDS,
            )
            copy = Path(folder) / "report"
            copy.mkdir()
            (copy / "report.json").write_bytes(Path(path).read_bytes())  # the cache holds links
            return read(copy, repo_id)
    except GatedRepoError:
        raise NotShownError(f"{repo_id} is gated: its files are not for everybody.") from None
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # what huggingface_hub raises where nothing was downloaded
            raise NotShownError("The Hub does not answer: try again in a minute.") from None
        raise NotShownError(f"{repo_id} has no report.json: `hf-leep push` has not made this repository.") from None
    except RepositoryNotFoundError:
        return None
    except HfHubHTTPError as error:
        if error.response.status_code == 401:  # what the Hub says of what is private or not there
            return None
        raise NotShownError(
            f"The Hub answers with the status {error.response.status_code}: try again later."
        ) from None
    except (HTTPError, OSError):
        raise NotShownError("The Hub does not answer: try again in a minute.") from None


def read(folder: Path, repo_id: str) -> Report:
    """Read and check the report in a folder.

    Raises:
        NotShownError: it cannot be read.
    """
    try:
        return Report.load(folder)
    except UserError as error:
        raise NotShownError(str(error).replace(str(folder / "report.json"), f"The report.json of {repo_id}")) from None


def rendered(typed: str) -> str:
    """Make the page of a report.

    Raises:
        NotShownError: there is none.
    """
    repo_id, kinds = place(typed)
    for kind in kinds:
        report = load(repo_id, kind)
        if report is not None:
            return interactive(without_paths(report.data)).decode()
    raise NotShownError(
        f"There is no public {' or '.join(kinds).replace('dataset', 'data set')} {repo_id} on the Hub."
    )


def show(typed: str) -> str:
    """What the visitor sees below the form: the report in a frame, or why there is none."""
    if not typed.strip():
        return ""
    try:
        page = rendered(typed)
    except NotShownError as error:
        return f'<p role="alert" class="not-shown">{escaped(str(error))}</p>'
    return f'<iframe class="report" title="report" sandbox="allow-scripts" srcdoc="{escaped(page)}"></iframe>'


def escaped(text: str) -> str:
    """Text for HTML, of which gradio takes nothing as a template either."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;")


def asked_for(request: gr.Request) -> tuple[object, object]:
    """The report that the address of the page names, as in ?report=OWNER/NAME; without one, nothing changes."""
    typed = request.query_params.get("report", "")
    return (typed, show(typed)) if typed.strip() else (gr.skip(), gr.skip())


# gradio's own orange and greys are too light to read.
STYLE = """
.gradio-container { --button-primary-background-fill: #c2410c; --button-primary-background-fill-hover: #9a3412;
  --input-placeholder-color: var(--block-title-text-color); }
@media (max-width: 700px) { .gradio-container .app { padding: .75rem !important; } }
.gradio-container .html-container { padding: 0; }
iframe.report { display: block; width: 100%; height: 85vh; border: 1px solid var(--border-color-primary); }
.not-shown { padding: .5rem 0; overflow-wrap: anywhere; }
"""

with gr.Blocks(title="Checkpoints ranked by hf_leep") as page:
    gr.Markdown(INTRODUCTION)
    with gr.Row(equal_height=True):
        name = gr.Textbox(label="Repository", placeholder="OWNER/NAME", scale=4)
        button = gr.Button("Show", variant="primary", scale=1)
    shown = gr.HTML(container=False)
    gr.on([button.click, name.submit], show, name, shown, api_name="show")
    page.load(asked_for, None, [name, shown], api_name=False)

if __name__ == "__main__":
    page.launch(css=STYLE)
