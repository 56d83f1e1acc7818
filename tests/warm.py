"""A Python interpreter that starts at once, for tests that need real processes: the large libraries are imported once.

``python warm.py run SOCKET …`` takes the arguments of ``python`` (``-m MODULE``, ``-c CODE`` or a script) and behaves
like it. A server has imported the libraries; it forks for each caller, and the child takes over the caller's
environment, folder, standard streams and arguments, and runs as ``__main__``. Signals to the caller reach the child,
and the caller ends as the child does: with the same exit code, or by the same signal. The child of a killed caller is
killed, and so are all of them when the server's standard input ends.

Unlike fresh interpreters, the children share the hash seed and the libraries as they were imported, and a child ends
without tearing them down. What the libraries of the Hub read from the environment at their import is read again
(`read_settings`).
"""

import json
import os
import signal
import socket
import struct
import sys

HANGING = 300  # seconds after which a test takes a process to hang, on however busy a machine
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_NUMBER = struct.Struct("!I")
_SETTINGS = ("huggingface_hub.constants", "datasets.config", "evaluate.config")  # read from the environment
_LIBRARIES = {"huggingface_hub", "datasets", "evaluate", "transformers", "accelerate", "hf_leep"}  # that use them
PLACEHOLDERS = {"HF_HOME": "/placeholder-home-of-warm.py", "HF_ENDPOINT": "http://placeholder-of-warm.py.invalid"}


# --- the caller, which imports nothing that takes time ---------------------------------------------------------------


def call(path, arguments):
    """Have a child run what ``python`` would, and end as it does."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    ignored = [int(number) for number in _FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
    for number in set(_FORWARDED) - set(ignored):
        signal.signal(number, lambda number, _frame: connection.sendall(bytes([number])))
    environment, folder = dict(os.environ), os.getcwd()
    request = {
        "arguments": arguments,
        "environment": environment,
        "folder": folder,
        "ignored": ignored,
        "socket": path,
    }
    body = json.dumps(request).encode()
    socket.send_fds(connection, [_NUMBER.pack(len(body))], [0, 1, 2])
    connection.sendall(body)
    answer = connection.recv(_NUMBER.size, socket.MSG_WAITALL)
    if len(answer) < _NUMBER.size:
        sys.exit("the server of warm.py is gone")
    code = os.waitstatus_to_exitcode(_NUMBER.unpack(answer)[0])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


# --- the server ------------------------------------------------------------------------------------------------------


class _Child:
    """A child and whom it runs for."""

    def __init__(self, process, connection):
        self.process, self.connection = process, connection
        self.ended = os.pidfd_open(process)

    def close(self):
        os.close(self.ended)
        self.connection.close()


def serve(listening):
    """Fork for each caller; return only in a child: the caller's request and its standard streams."""
    import contextlib
    import select

    children = {}  # descriptor → child; two for each: the end of the process and the connection
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(listening, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                for child in children.values():
                    os.kill(child.process, signal.SIGKILL)
                os._exit(0)
            if descriptor == listening.fileno():
                connection, _ = listening.accept()
                request, streams = _received(connection)
                if request is None:
                    continue
                process = os.fork()
                if process == 0:
                    for child in set(children.values()):
                        child.close()
                    connection.close()
                    listening.close()
                    return request, streams
                for stream in streams:
                    os.close(stream)
                child = _Child(process, connection)
                for watched in (child.ended, connection.fileno()):
                    children[watched] = child
                    poll.register(watched, select.POLLIN)
                continue
            child = children.get(descriptor)
            if child is None:  # it ended in this round
                continue
            if descriptor == child.ended:
                _, status = os.waitpid(child.process, 0)
                for watched in (child.ended, child.connection.fileno()):
                    if children.pop(watched, None) is not None:
                        poll.unregister(watched)
                with contextlib.suppress(OSError):  # the caller was killed
                    child.connection.sendall(_NUMBER.pack(status))
                child.close()
            elif numbers := _signals(child.connection):
                for number in numbers:
                    os.kill(child.process, number)
            else:
                os.kill(child.process, signal.SIGKILL)
                poll.unregister(descriptor)
                del children[descriptor]


def _signals(connection):
    """The signals to pass on; none if the caller is gone."""
    try:
        return connection.recv(64)
    except OSError:
        return b""


def _received(connection):
    """A caller's request and standard streams; None if it went away."""
    try:
        length, streams, _, _ = socket.recv_fds(connection, _NUMBER.size, 3)
        return json.loads(connection.recv(_NUMBER.unpack(length)[0], socket.MSG_WAITALL)), streams
    except (OSError, ValueError, struct.error):
        connection.close()
        return None, []


# --- a child ---------------------------------------------------------------------------------------------------------


def become(request, streams, filters):
    """Take over what a process inherits from its caller.

    Args:
        request: from the caller.
        streams: descriptors of its standard streams.
        filters: the warning filters of an interpreter that has imported nothing.
    """
    import io
    import warnings

    os.setsid()
    for number in _FORWARDED:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    before = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(request["environment"])
    after = os.environ.get("PYTHONPATH", "")
    if after != before:
        sys.path[:] = [path for path in sys.path if path not in before.split(os.pathsep)]
        sys.path[:0] = filter(None, after.split(os.pathsep))
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        known = getattr(sys, name)
        binary = open(known.fileno(), f"{mode}b", closefd=False)  # noqa: SIM115
        lines = name == "stderr" or binary.isatty()
        unbuffered = mode == "w" and bool(os.environ.get("PYTHONUNBUFFERED"))
        stream = io.TextIOWrapper(
            binary, encoding or known.encoding, errors or known.errors, line_buffering=lines, write_through=unbuffered
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.warnoptions[:] = filter(None, os.environ.get("PYTHONWARNINGS", "").split(","))
    # In an interpreter's order: those of the libraries, of the environment, of Python.
    of_libraries = [entry for entry in warnings.filters if entry not in filters]
    warnings.filters[:] = filters
    warnings._processoptions(sys.warnoptions)
    warnings.filters[:0] = of_libraries
    warnings._filters_mutated()


def read_settings():
    """Read again what the libraries of the Hub read from the environment at their import.

    Modules that took a setting from them, or made another of one, get the new one too.
    """
    import importlib
    from pathlib import Path

    holders = [sys.modules[name] for name in _SETTINGS]
    before = {name: value for module in holders for name, value in vars(module).items() if name.isupper()}
    after = {name: value for module in holders for name, value in vars(importlib.reload(module)).items()}
    instead = {PLACEHOLDERS["HF_HOME"]: after["HF_HOME"], PLACEHOLDERS["HF_ENDPOINT"]: after["ENDPOINT"]}
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] not in _LIBRARIES:
            continue
        for name, value in list(vars(module).items()):
            if name in before and value == before[name] and value != after[name]:
                setattr(module, name, after[name])
            elif isinstance(value, (str, Path)) and any(text in str(value) for text in instead):
                now = str(value)
                for old, new in instead.items():
                    now = now.replace(old, new)
                setattr(module, name, type(value)(now))


def start_workers_like(executable, path):
    """Let the worker of a run, and the processes that read its rows, start without their imports, too."""
    from hf_leep.inference import pool
    from hf_leep.runs import supervisor

    for module in (pool, supervisor):
        module.INTERPRETER[:] = [executable, "-I", "-S", __file__, "run", path]


def run(arguments):
    """Run what ``python`` would, as ``__main__``."""
    import runpy
    import types

    kind, *rest = [argument for argument in arguments if argument != "-P"]
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    if kind == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    elif kind == "-m":
        sys.argv[:] = ["-m", *rest[1:]]
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(rest[0])
    else:
        sys.argv[:] = arguments
        main.__file__ = os.path.abspath(kind)
        sys.path.insert(0, os.path.dirname(main.__file__))
        with open(kind, "rb") as script:
            exec(compile(script.read(), main.__file__, "exec"), vars(main))


def leave(raised):
    """End as an interpreter does, but for tearing down what was imported, which takes longer than many a test."""
    import atexit
    import threading

    code = 0
    interrupted = isinstance(raised, KeyboardInterrupt)
    if isinstance(raised, SystemExit):
        code = raised.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    elif raised is not None:
        sys.excepthook(type(raised), raised, raised.__traceback__)
        code = 1
    threading._shutdown()  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except OSError:
            code = code or 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit((code or 0) & 0xFF)


def main():
    """``run SOCKET ARGUMENT …``, or ``serve DESCRIPTOR MODULE …`` with the descriptor of a listening socket."""
    if sys.argv[1] == "run":
        call(sys.argv[2], sys.argv[3:])
    import gc
    import importlib
    import warnings

    filters = list(warnings.filters)
    listening = socket.socket(fileno=int(sys.argv[2]))
    sys.path.insert(0, os.getcwd())
    for name in sys.argv[3:]:
        importlib.import_module(name)
    del sys.path[0]
    gc.freeze()
    request, streams = serve(listening)
    raised = None
    try:
        become(request, streams, filters)
        read_settings()
        start_workers_like(sys.executable, request["socket"])
        run(request["arguments"])
    except BaseException as error:
        raised = error
    leave(raised)


if __name__ == "__main__":
    main()
