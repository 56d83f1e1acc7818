"""The exception tree, and how a message names an option.

::

    HfLeepError
    ├── UserError            the call or the data set was wrong: correct the call (exit code 2)
    │   ├── InputError       an array has the wrong shape, type or values (also a ValueError)
    │   ├── MeasureError     no such measure, or a measure given the wrong input
    │   └── TargetError      the data set, split, columns or labels cannot be used
    │       └── ChoiceError  several columns could be meant
    └── WorldError           the call was right, but something outside it failed: other candidates go on
        ├── CandidateError   this checkpoint cannot be loaded or run
        │   └── WorkerError  the process that judged or ran it ended, or showed no sign of life
        ├── HubError         the Hub refused something other than a candidate, or did not answer
        │   └── HubLimitError  the Hub allows no more requests, for longer than it is waited for
        └── ProcessError     another process of this run died

Every message is one line that says what was wrong, where, and what to do.

An option has two names: ``seed`` in Python and ``--seed`` on the command line. A message marks it with `option`:
``str(error)`` shows the Python name, and the command line shows the flag, with `HfLeepError.for_command_line`.
"""

import re

# Unicode sets these two aside for use inside a program: no text that people exchange contains them.
_START, _END = "\ufdd0", "\ufdd1"
_MARKED = re.compile(f"{_START}([a-z_.]+){_END}")
# The flags that are not the Python name with hyphens.
_FLAGS = {
    "candidates": "--models",
    "cluster": "--engine ray",
    "cluster.address": "--ray-address",
    "execution.cache": "--no-cache",
    "folder": "--output",
    "search.text": "--search",
}


class HfLeepError(Exception):
    """Base of everything hf_leep raises on purpose."""

    def __str__(self) -> str:
        """The message, with options named as in Python."""
        return name_options(super().__str__(), flags=False)

    def for_command_line(self) -> str:
        """The message, with options named as on the command line."""
        return name_options(super().__str__(), flags=True)

    def marked(self) -> str:
        """The message with its options still marked, to become part of another message."""
        return super().__str__()


class UserError(HfLeepError):
    """The call or the data set was wrong; nothing was written."""


class InputError(UserError, ValueError):
    """An array has the wrong shape, type or values."""


class MeasureError(UserError, ValueError):
    """No such measure, or a measure given the wrong kind of input."""


class TargetError(UserError):
    """The data set, the split, the columns or the labels cannot be used."""


class ChoiceError(TargetError):
    """Several columns could be meant; the command line shows its own call again with a choice filled in.

    Args:
        message: the message.
        name: the option that decides.
        proposal: one of its possible values.
    """

    def __init__(self, message: str, name: str, proposal: str) -> None:
        super().__init__(message)
        self.name, self.proposal = name, proposal


class WorldError(HfLeepError):
    """The call was right, but something outside it failed."""


class CandidateError(WorldError):
    """This candidate cannot be loaded or run; the others go on.

    Args:
        message: the message.
        out_of_memory: whether memory may have run out, of which other candidates at the same time take their part.
    """

    def __init__(self, message: str = "", *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class WorkerError(CandidateError):
    """The process that judged or ran this candidate ended, or showed no sign of life; the others go on."""


class HubError(WorldError):
    """The Hub refused a search, a collection or a push, or did not answer."""


class HubLimitError(HubError):
    """The Hub allows no more requests for now, and this is no candidate's fault: a run ends, and keeps what it has."""


class ProcessError(WorldError):
    """Another process of this run died; finished results are kept."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, or may have.

    Args:
        error: what a candidate raised.
    """
    return isinstance(error, MemoryError) or (isinstance(error, CandidateError) and error.out_of_memory)


def option(name: str) -> str:
    """Mark the name of an option inside a message, so that each reader sees the name that they use.

    Args:
        name: the name in Python: a keyword such as ``seed``, or the field of a record such as ``hub.max_download``.
    """
    return f"{_START}{name}{_END}"


def name_options(text: str, *, flags: bool) -> str:
    """Replace the options that `option` marked in a text by their names.

    Args:
        text: the text.
        flags: name them as on the command line, ``--max-download``, instead of as in Python, ``hub.max_download``.
    """

    def name(marked: re.Match[str]) -> str:
        python = marked[1]
        return _FLAGS.get(python, f"--{python.rpartition('.')[2].replace('_', '-')}") if flags else python

    return _MARKED.sub(name, text).replace(_START, "").replace(_END, "")


def without_record(text: str, record: str) -> str:
    """The same text for a function that takes the fields of a record as arguments of its own.

    Args:
        text: the text, with marked options such as ``execution.retry``.
        record: the name of the record, such as ``execution``.
    """
    return text.replace(f"{_START}{record}.", _START)


def one_line(error: BaseException, width: int = 300) -> str:
    """An error's message on one line, without signed queries of addresses and without tokens; options stay marked."""
    message = error.marked() if isinstance(error, HfLeepError) else str(error)
    text = " ".join(message.split()) or type(error).__name__
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?…", text)
    return re.sub(r"\bhf_[A-Za-z0-9]{8,}", "hf_…", text)[:width]
