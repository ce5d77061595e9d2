"""The commands: name, module, one line of help. Read by `--help` without importing any of the modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from .common import Commands


class Group(Protocol):
    """What the module of a command offers."""

    def register(self, commands: Commands) -> None:
        """Add the parsers of its commands, each with `set_defaults(run=...)`."""


class Command(NamedTuple):
    """One command of the first level."""

    module: str
    help: str
    group: str

    def load(self) -> Group:
        """Import the module that has the command."""
        from importlib import import_module

        return cast(Group, import_module(f"{__package__}.{self.module}"))


_DAILY, _LOOK, _STACK, _OTHER = "every day", "look", "runtimes, profiles, config", "other"

COMMANDS: dict[str, Command] = {
    "up": Command("services", "start what is enabled, with what is on disk", _DAILY),
    "down": Command("services", "stop everything, the supervisor too", _DAILY),
    "restart": Command("services", "restart with what is on disk: CLIProxyAPI, then LiteLLM", _DAILY),
    "apply": Command("apply", "apply what an edit left pending", _DAILY),
    "status": Command("status", "what runs, and how it is (what flowgate alone prints)", _DAILY),
    "health": Command("health", "ask every service now; exit 0 only when all is ok", _DAILY),
    "logs": Command("logs", "print or follow the logs of the services", _DAILY),
    "service": Command("services", "start, stop, restart or list single services", _DAILY),
    "doctor": Command("doctor", "check this machine and workspace, with the command that mends", _LOOK),
    "events": Command("events", "what happened, in order", _LOOK),
    "bootstrap": Command("bootstrap", "download and verify the runtimes", _STACK),
    "profile": Command("profile", "list, show, compare or set routing profiles", _STACK),
    "config": Command("config", "make, check and show the configuration", _STACK),
    "trust": Command("trust", "say that this workspace may start programs", _OTHER),
    "supervisor": Command("supervisor", "the daemon that keeps the services", _OTHER),
    "demo": Command("demo", "the whole story in a throw-away workspace, offline", _OTHER),
    "completion": Command("completion", "completion for bash, zsh or fish", _OTHER),
}


def help_text() -> str:
    """What `flowgate --help` prints."""
    lines = [
        "usage: flowgate [--config FILE] [COMMAND] [--json] ...",
        "",
        "Keeps a local LLM gateway running: LiteLLM in front, CLIProxyAPI behind it.",
        "Alone it prints the status.",
    ]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<12}{c.help}" for name, c in COMMANDS.items() if c.group == group]
    lines += [
        "",
        "options:",
        "  --config FILE  the workspace's config/flowgate.yaml; else found upwards from here",
        "  --json         one JSON document on stdout, with every command",
        "  --version      print the version",
        "",
        "exit codes: 0 done, 1 failed, 2 usage or config, 3 runs but not healthy, 4 busy,",
        "            5 refused for safety, 130 interrupted",
        "",
        "more: flowgate COMMAND --help",
    ]
    return "\n".join(lines)
