"""Asks every service now, at the address of its spec, and checks that it is ours that answers.

Plain `http.client` in threads, so that it works with no supervisor and without httpx. What is asked are the
probe paths of the frozen spec: never a paid or a banned address.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from ..models.snapshots import FAIL, OK, Probe, Service
from ..paths import Workspace
from ..store import snapshot
from ..store.db import open_database
from .owner import ours, stranger_on

#: Where a spec does not say how long a probe may take, in seconds.
_TIMEOUT = 2.0
#: An answer's body is not needed; no more than this of it is read.
_BODY_LIMIT = 65536
#: Addresses that mean "every interface" are asked on the loopback one.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class Answer(NamedTuple):
    """What one enabled service answered just now."""

    service: Service
    liveness: Probe
    readiness: Probe

    @property
    def ok(self) -> bool:
        """Both probes passed."""
        return self.liveness.result == OK and self.readiness.result == OK


class _Target(NamedTuple):
    host: str
    port: int
    timeout: float
    liveness: str
    readiness: str


def ask_all(workspace: Workspace) -> list[Answer]:
    """Ask every enabled service, all at once. Takes no longer than the longest timeout and a little."""
    now = snapshot.build(workspace)
    with open_database(workspace, readonly=True) as store:
        specs = {row.service: row.spec_json for row in store.desired()}
    services = [service for service in now.services if service.enabled]
    answers: dict[tuple[str, str], Probe] = {}
    threads = []
    longest = _TIMEOUT
    for service in services:
        spec = specs.get(service.name)
        if spec is None:
            continue
        target = _target(spec)
        longest = max(longest, target.timeout)
        for name, path in (("liveness", target.liveness), ("readiness", target.readiness)):
            work = _work(answers, (service.name, name), target, path)
            threads.append(threading.Thread(target=work, daemon=True))
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + longest + 0.5
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    own = ours(workspace, now)
    return [
        _judge(
            service,
            answers.get((service.name, "liveness")),
            answers.get((service.name, "readiness")),
            stranger_on(service, own) if specs.get(service.name) else None,
        )
        for service in services
    ]


def get(host: str, port: int, path: str, timeout: float) -> Probe:
    """One GET. `ok` is a 2xx answer within `timeout` seconds; redirects are not followed."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(_WILDCARDS.get(host, host), port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "flowgate-health"})
        response = connection.getresponse()
        body = response.read(_BODY_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        return Probe(FAIL, time.time(), None, None, _why(error, host, port, timeout))
    finally:
        connection.close()
    latency = (time.monotonic() - begun) * 1000
    if 200 <= response.status < 300:
        return Probe(OK, time.time(), latency, response.status, None)
    return Probe(FAIL, time.time(), latency, response.status, f"{path} answered {response.status}{_said(body)}")


def _work(
    answers: dict[tuple[str, str], Probe], key: tuple[str, str], target: _Target, path: str
) -> Callable[[], None]:
    def work() -> None:
        answers[key] = get(target.host, target.port, path, target.timeout)

    return work


def _target(spec_json: bytes) -> _Target:
    raw = json.loads(spec_json)
    probes = raw["probes"]
    timeout = float(probes.get("timeout") or _TIMEOUT)
    return _Target(raw["host"], int(raw["port"]), timeout, probes["liveness_path"], probes["readiness_path"])


def _judge(service: Service, liveness: Probe | None, readiness: Probe | None, stranger: str | None) -> Answer:
    """The answers, held against whose process it is that gave them."""
    late = Probe(FAIL, None, None, None, "no answer")
    liveness, readiness = liveness or late, readiness or late
    if stranger is not None:
        return Answer(service, _failed(liveness, stranger), _failed(readiness, stranger))
    if service.pid is None:
        reason = f"{service.state}: {service.reason}" if service.reason else service.state
        if liveness.code is not None or readiness.code is not None:
            reason = f"port {service.port} answers, but no process of ours runs ({reason})"
        return Answer(service, _failed(liveness, reason), _failed(readiness, reason))
    return Answer(service, liveness, readiness)


def _failed(probe: Probe, reason: str) -> Probe:
    return probe._replace(result=FAIL, reason=reason)


def _why(error: Exception, host: str, port: int, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused on {host}:{port}"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer ({type(error).__name__})"
    return " ".join(str(error).split())


def _said(body: bytes) -> str:
    """A short status out of an answer; the body itself is never shown, it might hold anything."""
    try:
        raw = json.loads(body)
    except ValueError:
        return ""
    status = raw.get("status") if isinstance(raw, dict) else None
    return f" ({status})" if isinstance(status, str) and len(status) < 60 else ""
