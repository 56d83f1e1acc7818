"""``hf-leep``, and ``python -m hf_leep``."""

import os
import signal


def main() -> None:
    """Run the command line and exit; Ctrl-C while it is imported ends it with a line instead of a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # otherwise it is ignored
        signal.signal(signal.SIGINT, _end)
    from hf_leep.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _end(number: int, _frame: object) -> None:
    os.write(2, b"hf-leep: interrupted. Nothing was changed\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
