"""What follows from what was seen: a pure function for each question, no clock, no I/O.

Times are seconds. `random` arguments are numbers from 0 up to 1.
"""

from __future__ import annotations

from typing import NamedTuple

from ..models import states
from ..services.launch import ProbeSpec, RestartSpec

RESTART = "restart"
GIVE_UP = "give-up"
REST = "rest"


class Verdict(NamedTuple):
    """What to do after an exit. `failures`: exits in a row without a stable run."""

    action: str
    delay: float
    failures: int
    reason: str


def after_exit(rule: RestartSpec, *, failures: int, uptime: float, clean: bool, random: float) -> Verdict:
    """Decide about an exit that nobody asked for.

    The first restart in a row is immediate; from the second on the delay doubles from
    `rule.backoff` to `rule.backoff_max`, spread over its upper half so that several services
    that fell together do not come back together.
    """
    if uptime >= rule.stable_after:
        failures = 0
    failures += 1
    if rule.policy == "never":
        return Verdict(REST if clean else GIVE_UP, 0.0, failures, "restart policy is never")
    if rule.policy == "on-failure" and clean:
        return Verdict(REST, 0.0, failures, "it ended without an error, and restart policy is on-failure")
    if failures >= rule.crash_loop:
        return Verdict(GIVE_UP, 0.0, failures, f"crash loop: {failures} exits in a row")
    delay = backoff(rule, failures, random)
    return Verdict(RESTART, delay, failures, f"restart {failures} in {delay:.1f} s" if delay else "restart at once")


def backoff(rule: RestartSpec, failures: int, random: float) -> float:
    """Delay before the restart that follows the `failures`th exit in a row."""
    if failures <= 1:
        return 0.0
    full = min(rule.backoff_max, rule.backoff * 2.0 ** min(failures - 2, 30))
    return full * (0.5 + 0.5 * random)


class Pulse(NamedTuple):
    """What the probes of one generation have shown so far."""

    live_fails: int = 0
    ready_fails: int = 0
    ready_passes: int = 0
    was_live: bool = False
    was_ready: bool = False


class Judgement(NamedTuple):
    """The state that follows from a round of probes; `restart` when it must be replaced."""

    pulse: Pulse
    state: str
    restart: str | None


def after_probe(spec: ProbeSpec, pulse: Pulse, state: str, *, live: bool, ready: bool, age: float) -> Judgement:
    """Fold one round of probes into the state of a running generation of this age.

    A service that never answered is given `startup_grace`; one that has answered is replaced
    after `failure_threshold` silent rounds. Failing readiness alone never restarts anything:
    it is shown, and a person or a trial decides.
    """
    pulse = Pulse(
        0 if live else pulse.live_fails + 1,
        0 if ready else pulse.ready_fails + 1,
        pulse.ready_passes + 1 if ready else 0,
        pulse.was_live or live,
        pulse.was_ready or (ready and pulse.ready_passes + 1 >= spec.success_threshold),
    )
    if ready and live:
        new = states.READY if pulse.ready_passes >= spec.success_threshold or state == states.READY else state
        return Judgement(pulse, new, None)
    if not pulse.was_ready and age < spec.startup_grace:
        return Judgement(pulse, state, None)
    if not pulse.was_live:
        return Judgement(pulse, state, f"it has not answered in {spec.startup_grace:.0f} s")
    if pulse.live_fails >= spec.failure_threshold:
        return Judgement(pulse, state, f"it has stopped answering ({pulse.live_fails} probes in a row)")
    if pulse.ready_fails >= spec.failure_threshold:
        return Judgement(pulse, states.RUNNING, None)
    return Judgement(pulse, state, None)


def probe_delay(spec: ProbeSpec, pulse: Pulse, rounds: int) -> float:
    """Seconds until the next round: quick while a start is watched, the interval afterwards."""
    if pulse.was_ready:
        return spec.interval
    return min(spec.interval, 0.05 * 1.5 ** min(rounds, 12))
