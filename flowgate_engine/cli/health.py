"""`health`: asks every service now. Exit 0 only when every enabled one is alive and ready, else 3."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ..models.snapshots import FAIL, OK, Probe
from . import common, present

if TYPE_CHECKING:
    from ..health.fresh import Answer

UNHEALTHY = 3


def register(commands: common.Commands) -> None:
    """Add the parser of `health`."""
    text = "Ask every enabled service now. Exit 0 only when liveness and readiness of all are ok, else 3."
    parser = commands.add_parser("health", help="ask every service now", description=text)
    common.add_watch(parser)
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask and print. 0 when all is ok, 3 when not."""
    from ..health.fresh import ask_all

    workspace = common.workspace(args)

    def show() -> int:
        answers = ask_all(workspace)
        if args.json:
            common.print_json(document(answers, args.program), line=args.watch)
        else:
            print("\n".join(lines(answers, present.paper(sys.stdout), args.program)))
        return 0 if healthy(answers) else UNHEALTHY

    return common.repeat(args, show)


def healthy(answers: list[Answer]) -> bool:
    """Every enabled service is alive and ready, and there is one."""
    return bool(answers) and all(answer.ok for answer in answers)


def lines(answers: list[Answer], on: present.Paper, program: str) -> list[str]:
    """One line a service, and one for the stack in the same words."""
    out = []
    for answer in answers:
        words = [f"{answer.service.name}:", *_results(answer.liveness.result, answer.readiness.result, on)]
        for name, probe in (("liveness", answer.liveness), ("readiness", answer.readiness)):
            if probe.code is not None and (name == "readiness" or probe.result != OK):
                words.append(f"{name}_code={probe.code}")
        if answer.readiness.latency_ms is not None:
            words.append(f"latency_ms={answer.readiness.latency_ms:.1f}")
        if answer.service.port:
            words.append(f"address={answer.service.address}")
        if answer.service.pid is not None:
            words.append(f"pid={answer.service.pid}")
        reason = _reason(answer)
        if reason:
            words.append(f'reason="{_quoted(reason)}"')
        out.append(" ".join(words))
    liveness, readiness = _stack(answers)
    words = ["stack:", *_results(liveness, readiness, on)]
    if not answers:
        words.append(f'reason="nothing started yet: {program} up"')
    return [*out, " ".join(words)]


def document(answers: list[Answer], program: str) -> dict[str, Any]:
    """`health --json`: docs/json/health.schema.json."""
    liveness, readiness = _stack(answers)
    return {
        "at": common.rfc3339(time.time()),
        "ok": healthy(answers),
        "liveness": liveness,
        "readiness": readiness,
        "reason": None if answers else f"nothing started yet: {program} up",
        "services": [
            {
                "name": answer.service.name,
                "state": answer.service.state,
                "liveness": answer.liveness.result,
                "readiness": answer.readiness.result,
                "liveness_code": answer.liveness.code,
                "readiness_code": answer.readiness.code,
                "latency_ms": _rounded(answer.readiness),
                "reason": _reason(answer),
                "address": answer.service.address if answer.service.port else None,
                "pid": answer.service.pid,
            }
            for answer in answers
        ],
    }


def _stack(answers: list[Answer]) -> tuple[str, str]:
    """Liveness and readiness of the whole."""
    if not answers:
        return FAIL, FAIL
    alive = all(answer.liveness.result == OK for answer in answers)
    ready = all(answer.readiness.result == OK for answer in answers)
    return OK if alive else FAIL, OK if ready else FAIL


def _results(liveness: str, readiness: str, on: present.Paper) -> list[str]:
    return [
        present.paint(f"liveness={liveness}", liveness, on),
        present.paint(f"readiness={readiness}", readiness, on),
    ]


def _reason(answer: Answer) -> str | None:
    reasons = [p.reason for p in (answer.liveness, answer.readiness) if p.result != OK and p.reason]
    return "; ".join(dict.fromkeys(reasons)) or None


def _rounded(probe: Probe) -> float | None:
    return None if probe.latency_ms is None else round(probe.latency_ms, 3)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
