"""`status`: what runs and how it is, from what is written down and the kernel; needs no supervisor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..models import states
from ..models.snapshots import Service, Snapshot
from ..store import snapshot as snapshots
from . import common, present
from .present import Column, Paper

if TYPE_CHECKING:
    import argparse
    from types import SimpleNamespace

#: What the parser gives when no option is; a test holds it to the parser.
DEFAULTS: dict[str, Any] = {"watch": False, "interval": 2.0}

#: `keep`: what is left out first on a narrow terminal.
COLUMNS = (
    Column("SERVICE"),
    Column("STATE"),
    Column("LIVE", keep=1),
    Column("READY"),
    Column("VERSION", keep=3),
    Column("ADDRESS"),
    Column("PID", right=True, keep=2),
    Column("UPTIME", right=True, keep=4),
    Column("RESTARTS", right=True, keep=5),
    Column("CPU", right=True, keep=8),
    Column("MEM", right=True, keep=7),
    Column("REQ", right=True, keep=9),
    Column("FAIL", right=True, keep=10),
    Column("INFLIGHT", right=True, keep=11),
)


def register(commands: common.Commands) -> None:
    """Add the parser of `status`."""
    text = "What runs, and how it is. Works with no supervisor; exit 0 whenever it could be told."
    parser = commands.add_parser("status", help="what runs, and how it is", description=text)
    common.add_watch(parser)
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace | SimpleNamespace) -> int:
    """Print the status. 0 also when nothing runs: `health` is the command that judges."""
    workspace = common.workspace(args)

    def show() -> int:
        now = snapshots.build(workspace)
        if args.json:
            common.print_json(snapshots.as_document(now), line=args.watch)
        else:
            print("\n".join(lines(now, present.paper(sys.stdout), args.program)))
        return 0

    return common.repeat(args, show)


def lines(now: Snapshot, on: Paper, program: str) -> list[str]:
    """The status as text: the state in words, the services, what to know besides."""
    out = [headline(now, on, program)]
    if now.services:
        out += present.table(COLUMNS, [_row(s, on) for s in now.services], on)
    dot = present.separator(on)
    out += [
        f"{service.name}: {service.reason}"
        for service in now.services
        if service.reason and service.state not in (states.READY, states.STOPPED)
    ]
    operation = now.operation
    if operation is not None and operation.state == "running":
        what = " ".join([operation.kind, *operation.services])
        out.append(f"under way: {what}" + (f"{dot}{operation.message}" if operation.message else ""))
    if now.pending:
        out.append(f"pending: {', '.join(now.pending)}{dot}{program} apply")
    if now.drift:
        out.append(f"changed by CLIProxyAPI itself: {', '.join(now.drift)}{dot}{program} config adopt")
    out += [present.paint(f"warning: {text}", "warn", on) for text in now.warnings]
    return out


def headline(now: Snapshot, on: Paper, program: str) -> str:
    """The state of the stack in words, with the command that helps."""
    dot = present.separator(on)
    wanted = [s for s in now.services if s.enabled]
    ready = [s for s in wanted if s.ready]
    profile = f"{dot}profile {now.profile}" if now.profile else ""
    if not now.services:
        return f"nothing started yet{dot}{program} up"
    if now.healthy:
        return present.paint(f"serving: {len(ready)} of {len(wanted)} ready{profile}", states.READY, on)
    if all(s.state in (states.STOPPED, states.HELD) for s in now.services):
        return present.paint(f"stopped{profile}", states.STOPPED, on) + f"{dot}{program} up"
    bad = next(
        (s for state in (states.FAILED, states.STOPPED, states.HELD) for s in wanted if s.state == state),
        next((s for s in wanted if not s.ready), None),
    )
    if bad is None:
        return f"every service is disabled in {now.workspace}/config/flowgate.yaml"
    told = f"{bad.name} {bad.state}"
    why = bad.reason or (bad.readiness.reason if bad.state in (states.RUNNING, states.READY) else None)
    if why:
        told += f": {why}"
    if bad.state == states.STARTING:
        return present.paint(f"starting: {told}", states.STARTING, on) + f"{dot}{program} logs -f {bad.name}"
    helps = "up" if bad.state in (states.STOPPED, states.HELD) else f"logs {bad.name}"
    return present.paint(f"not serving: {told}", states.FAILED, on) + f"{profile}{dot}{program} {helps}"


def _row(service: Service, on: Paper) -> list[tuple[str, str]]:
    alive = service.pid is not None
    live, ready = (service.liveness.result, service.readiness.result) if alive else ("-", "-")
    counters = (service.requests, service.failures, service.in_flight)
    return [
        (service.name, ""),
        (present.state(service.state, on), service.state),
        (live, live),
        (ready, ready),
        (service.version or "-", ""),
        (service.address if service.port else "-", ""),
        (str(service.pid or "-"), ""),
        (present.span(service.uptime_s), ""),
        (str(service.restarts), "warn" if service.restarts else ""),
        (present.number(service.cpu_percent, 1) + ("%" if service.cpu_percent is not None else ""), ""),
        (present.size(service.rss_bytes), ""),
        *((present.number(value), "") for value in counters),
    ]
