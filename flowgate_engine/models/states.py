"""States of a supervised service, and the moves between them that are allowed."""

from __future__ import annotations

STOPPED = "stopped"
STARTING = "starting"
RUNNING = "running"
READY = "ready"
DRAINING = "draining"
FAILED = "failed"
HELD = "held"

ALL = (STOPPED, STARTING, RUNNING, READY, DRAINING, FAILED, HELD)

#: States in which a process of the service exists or is on its way.
ACTIVE = frozenset({STARTING, RUNNING, READY, DRAINING})

#: starting: launched, or about to be launched again after an exit; not ready yet.
#: running: alive, but readiness fails. ready: the right program answers.
#: failed: given up after a crash loop or by policy. held: no automatic start.
TRANSITIONS: dict[str, frozenset[str]] = {
    STOPPED: frozenset({STARTING, HELD, FAILED}),
    STARTING: frozenset({RUNNING, READY, DRAINING, FAILED, STOPPED, STARTING}),
    RUNNING: frozenset({READY, DRAINING, FAILED, STARTING, STOPPED}),
    READY: frozenset({RUNNING, DRAINING, FAILED, STARTING, STOPPED}),
    DRAINING: frozenset({STOPPED, STARTING, FAILED}),
    FAILED: frozenset({STARTING, STOPPED, HELD}),
    HELD: frozenset({STARTING, STOPPED}),
}


class IllegalTransitionError(ValueError):
    """A state was about to follow one it can never follow: a defect, not bad luck."""


def check_transition(old: str, new: str) -> None:
    """Raise `IllegalTransitionError` unless `new` may follow `old`."""
    if new != old and new not in TRANSITIONS[old]:
        raise IllegalTransitionError(f"{old} cannot become {new}")
