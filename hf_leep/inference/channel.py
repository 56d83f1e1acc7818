"""Messages between the process that runs a model and those that make its inputs: Python objects and open files."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Sequence

_HEADER = struct.Struct("!Q")
_MAX_FILES = 64  # in one message


class Channel:
    """One end of a socket. Any thread may send; one thread receives.

    Args:
        connected: the socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._lock = connected, threading.Lock()

    def send(self, message: object, files: Sequence[int] = ()) -> None:
        """Send a message.

        Args:
            message: any object that can be pickled.
            files: file descriptors, which the other end gets as its own.

        Raises:
            OSError: the other end is closed.
        """
        body = pickle.dumps(message, protocol=5)
        header = _HEADER.pack(len(body))
        with self._lock:
            if files:
                socket.send_fds(self._socket, [header], list(files))
            else:
                self._socket.sendall(header)
            self._socket.sendall(body)

    def receive(self) -> tuple[object, list[int]]:
        """Wait for a message. Only from hf_leep's own processes: a pickle can run any code.

        Returns:
            The message, and the file descriptors that came with it.

        Raises:
            EOFError: the other end is closed.
            OSError: the socket is broken.
        """
        header, files, _, _ = socket.recv_fds(self._socket, _HEADER.size, _MAX_FILES)
        header += self._exactly(_HEADER.size - len(header))
        (size,) = _HEADER.unpack(header)
        return pickle.loads(self._exactly(size)), files  # noqa: S301 - the other end is hf_leep itself

    def close(self) -> None:
        """Close this end; a thread that receives is woken."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end is closed already
            pass
        finally:
            self._socket.close()

    def _exactly(self, size: int) -> bytes:
        content = bytearray(size)
        view, start = memoryview(content), 0
        while start < size:
            received = self._socket.recv_into(view[start:])
            if not received:
                raise EOFError
            start += received
        return bytes(content)
