"""Talks to the supervisor over its Unix socket. `http.client`, since httpx costs seven times the import."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import FlowgateError, from_dict

#: An answer that takes longer than this comes from a supervisor that hangs. Seconds.
ANSWER_TIMEOUT = 15.0


class NoSupervisorError(FlowgateError):
    """Nothing answers on the socket of this workspace."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("flowgate", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One supervisor's API. Each call opens a connection of its own."""

    def __init__(self, path: Path, *, hint: str = "flowgate up") -> None:
        """`path` of the socket; `hint` is the command that starts a supervisor."""
        self._path = path
        self._hint = hint

    def alive(self) -> bool:
        """True when a supervisor answers."""
        try:
            self.get("/v1/version")
        except NoSupervisorError:
            return False
        return True

    def get(self, path: str, *, timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """The JSON document at `path`. Raises what the supervisor raised."""
        return self._ask("GET", path, None, timeout)

    def post(self, path: str, document: dict[str, Any], *, timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """The answer to `document`. Raises what the supervisor raised."""
        return self._ask("POST", path, document, timeout)

    def events(self, after: int, *, timeout: float = 60.0) -> Iterator[dict[str, Any]]:
        """Events after `after` as they happen; a line at least every 10 s (`{"seq": null}`) proves it lives."""
        connection, response = self._send("GET", f"/v1/events?after={after}&follow=1", None, timeout)
        try:
            while line := response.readline():
                yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, document: dict[str, Any] | None, timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self._path, timeout)
        body = None if document is None else json.dumps(document).encode()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._gone(error) from error
        if response.status == 503:
            raise self._gone(ConnectionResetError("it ends at this moment"))
        if response.status >= 400:
            raise _error_of(response)
        return connection, response

    def _ask(self, method: str, path: str, document: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        connection, response = self._send(method, path, document, timeout)
        try:
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._gone(error) from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise FlowgateError(f"the supervisor answered {path} with something that is no document")
        return answer

    def _gone(self, error: Exception) -> NoSupervisorError:
        if isinstance(error, TimeoutError):
            why = "the supervisor does not answer"
        elif isinstance(error, FileNotFoundError | ConnectionRefusedError):
            why = "no supervisor is running for this workspace"
        else:
            why = f"the supervisor went away: {error}"
        return NoSupervisorError(why, hint=self._hint)


def _error_of(response: http.client.HTTPResponse) -> FlowgateError:
    """The error that the supervisor sent, of its own class."""
    body = response.read()
    try:
        return from_dict(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return FlowgateError(f"the supervisor answered {response.status}: {body[:200].decode('utf-8', 'replace')}")
