"""The exception tree: what went wrong, and whose turn it is.

::

    HfLeepError
    ├── UserError            the call or the target was wrong: mend the call (exit code 2)
    │   ├── InputError       an array has the wrong shape, type or values (also a ValueError)
    │   ├── MeasureError     no such measure, or a measure that was handed the wrong input
    │   └── TargetError      the data set, split, columns or labels cannot be used
    └── WorldError           the call was right, the world was not: other candidates go on
        ├── CandidateError   this checkpoint cannot be loaded or run
        ├── HubError         the Hub refused something else than a candidate, or did not answer
        └── ProcessError     another process of this run died

Every message is one line that says what was wrong, where, and what to do.
"""

import re


class HfLeepError(Exception):
    """Base of everything hf_leep raises on purpose."""


class UserError(HfLeepError):
    """The call or the target was wrong; nothing was written."""


class InputError(UserError, ValueError):
    """An array has the wrong shape, type or values."""


class MeasureError(UserError, ValueError):
    """No such measure, or a measure handed the wrong kind of input."""


class TargetError(UserError):
    """The data set, the split, the columns or the labels cannot be used."""


class WorldError(HfLeepError):
    """The call was right, but something outside it failed."""


class CandidateError(WorldError):
    """This candidate cannot be loaded or run; the others go on."""


class HubError(WorldError):
    """The Hub refused a search, a collection or a push, or did not answer."""


class ProcessError(WorldError):
    """Another process of this run died; what is finished stays."""


def one_line(error: BaseException, width: int = 300) -> str:
    """What an error says, on one line, without what nobody should see: signed queries of addresses, and tokens."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?…", text)
    return re.sub(r"\bhf_[A-Za-z0-9]{8,}", "hf_…", text)[:width]
