"""Asks a service whether it lives and whether it is ready, and says in words why not.

What follows from a series of answers is `supervisor.policy`'s; whose process answered is `supervisor.pulse`'s.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from pathlib import Path
from typing import Any, Protocol

from ..errors import FlowgateError
from ..io import probe_http
from ..models.snapshots import FAIL, OK, Probe
from ..services.launch import ProbeSpec

#: Where a service that listens everywhere is asked.
_WILDCARD = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
#: Seconds for the runner's status: it asks its app itself, and gives that 2 s.
STATUS_TIMEOUT = 3.0


class Client(Protocol):
    """How a GET is made; `io.probe_http.get` is one."""

    async def __call__(self, host: str, port: int, path: str, /) -> probe_http.Answer: ...


async def probe(spec: ProbeSpec, host: str, port: int, *, client: Client | None = None) -> tuple[Probe, Probe]:
    """Liveness and readiness, asked for at once; each takes `spec.timeout` seconds at most. Raises nothing.

    Where both have the same path one request answers both.
    """
    get = client or probe_http.get
    if spec.liveness_path == spec.readiness_path:
        both = await _ask(get, host, port, spec.liveness_path, spec.timeout)
        return both, both
    liveness, readiness = await asyncio.gather(
        _ask(get, host, port, spec.liveness_path, spec.timeout),
        _ask(get, host, port, spec.readiness_path, spec.timeout),
    )
    return liveness, readiness


async def _ask(get: Client, host: str, port: int, path: str, timeout: float) -> Probe:
    began = time.perf_counter()
    code: int | None = None
    try:
        async with asyncio.timeout(timeout):
            code = (await get(_WILDCARD.get(host, host), port, path)).status
    except TimeoutError:
        reason: str | None = f"no answer in {timeout:g} s"
    except OSError as error:
        reason = in_words(error)
    else:
        reason = None if 200 <= code < 300 else str(code)
    latency = round((time.perf_counter() - began) * 1000, 2)
    return Probe(FAIL if reason else OK, time.time(), latency if code is not None else None, code, reason)


def in_words(error: OSError) -> str:
    """Why a connection came to nothing."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "host unreachable"
    return error.strerror or type(error).__name__


async def runner_status(control_socket: Path | str, *, health: bool = True) -> dict[str, Any]:
    """The status document of LiteLLM's runner. Raises FlowgateError when it cannot be had.

    `health` False leaves out the app's own readiness (two requests inside LiteLLM), and with it `ready`.
    """
    path = "/flowgate/status" if health else "/flowgate/counts"
    try:
        async with asyncio.timeout(STATUS_TIMEOUT):
            answer = await probe_http.get_unix(Path(control_socket), path)
        document = json.loads(answer.body)
    except TimeoutError:
        raise FlowgateError(f"LiteLLM's runner gave no status in {STATUS_TIMEOUT:g} s ({control_socket})") from None
    except OSError as error:
        raise FlowgateError(f"LiteLLM's runner cannot be asked: {in_words(error)} ({control_socket})") from error
    except ValueError as error:
        raise FlowgateError(f"LiteLLM's runner answered with something else than JSON ({control_socket})") from error
    if answer.status != 200 or not isinstance(document, dict):
        raise FlowgateError(f"LiteLLM's runner answered {answer.status} ({control_socket})")
    return document
