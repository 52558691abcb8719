"""A TCP proxy in front of an HTTP server that does to chosen requests what bad networks and servers do."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 1 << 16
METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")
RESET = struct.pack("ii", 1, 0)  # linger for 0 s: closing sends a reset


@dataclass
class Fault:
    """What happens to the next `times` requests of a method.

    kind: "status" (the answer is HTTP `number`), "cut" (the answer ends in order after its head and `number`
    bytes), "short" (a whole answer of `number` other bytes, as of a broken cache), "reset" (the connection is
    reset after `number` bytes of the request) or "slow" (the answer comes in pieces of `number` bytes with a
    pause after each).
    """

    kind: str
    method: str
    number: int
    times: int = 1


class FaultyProxy:
    """Listens on `port`; hands everything on to the server's port, but for the faults."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.faults: list[Fault] = []
        self.done: list[str] = []  # kinds, in the order in which they happened
        self.requests: list[str] = []  # methods of all requests
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens, and open connections are reset."""
        self.close()
        try:
            yield
        finally:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            open_connections = list(self._connections)
        for connection in open_connections:
            reset(connection)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One client's connection: requests of several, one after the other."""
        with self._lock:
            self._connections.add(connection)
        with contextlib.suppress(OSError), connection:
            server = socket.create_connection(("127.0.0.1", self.server_port))
            answer = _Answer()
            threading.Thread(target=self._answers, args=(server, connection, answer), daemon=True).start()
            with server:
                self._requests(connection, server, answer)
        with self._lock:
            self._connections.discard(connection)

    def _requests(self, connection: socket.socket, server: socket.socket, answer: "_Answer") -> None:
        budget = None  # bytes of the request until the reset
        while data := connection.recv(CHUNK):
            if data.startswith(METHODS) and (fault := self._take(data.split(b" ", 1)[0].decode())):
                if fault.kind == "status":
                    body = b"<Error><Code>%d</Code><Message>made to fail</Message></Error>" % fault.number
                    answer_with(connection, fault.number, body)
                    return
                if fault.kind == "short":
                    answer_with(connection, 200, bytes(fault.number))
                    return
                budget = fault.number if fault.kind == "reset" else None
                answer.fault = fault if budget is None else None
            if budget is not None:
                server.sendall(data[:budget])
                budget -= len(data)
                if budget <= 0:
                    reset(connection)
                    return
            else:
                server.sendall(data)

    def _answers(self, server: socket.socket, connection: socket.socket, answer: "_Answer") -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK):
                fault = answer.fault
                if fault is None:
                    connection.sendall(data)
                elif fault.kind == "slow":
                    for start in range(0, len(data), fault.number):
                        connection.sendall(data[start : start + fault.number])
                        time.sleep(0.01)
                else:
                    head = data.find(b"\r\n\r\n") + 4
                    connection.sendall(data[: head + fault.number])
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    def _take(self, method: str) -> Fault | None:
        with self._lock:
            self.requests.append(method)
            for fault in self.faults:
                if fault.method == method and fault.times:
                    fault.times -= 1
                    self.done.append(fault.kind)
                    return fault
        return None


class _Answer:
    """What happens to the answer of the request that is under way."""

    fault: Fault | None = None


def reset(connection: socket.socket) -> None:
    """Close with a reset instead of an end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads
    with contextlib.suppress(OSError):
        connection.close()


def answer_with(connection: socket.socket, status: int, body: bytes) -> None:
    """Answer so, and read what the client is still sending, or it may miss the answer."""
    head = b"HTTP/1.1 %d Fault\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
    connection.sendall(head + body)
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(2)
    while connection.recv(CHUNK):
        pass
