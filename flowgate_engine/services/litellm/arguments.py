"""`services.litellm.args`: what they mean for the runner and for the plain command."""

from __future__ import annotations

from ...config import hints
from ...config.load import Loaded
from ...errors import ConfigError

#: Arguments of the `litellm` command that the runner takes too, as the variable that does the same (both versions).
_FLAGS = {"--debug": ("LITELLM_LOG", "INFO"), "--detailed_debug": ("LITELLM_LOG", "DEBUG")}
_VALUES = {"--keepalive_timeout": "KEEPALIVE_TIMEOUT"}
#: Always ours.
_OURS = ("--config", "-c", "--host", "--port", "--telemetry", "--num_workers", "--skip_server_startup")


def runner_environment(loaded: Loaded) -> dict[str, str]:
    """The variables that stand for the arguments. Raises ConfigError for one that the runner cannot take."""
    args = loaded.config.services.litellm.args
    out: dict[str, str] = {}
    index = 0
    while index < len(args):
        name, equals, value = args[index].partition("=")
        if name in _FLAGS and not equals:
            out[_FLAGS[name][0]] = _FLAGS[name][1]
        elif name in _VALUES:
            if not equals:
                index += 1
                value = args[index] if index < len(args) else ""
            if not value.isdigit():
                raise _refused(loaded, index, f"{name} takes a number of seconds")
            out[_VALUES[name]] = value
        else:
            known = ", ".join([*_FLAGS, *_VALUES])
            raise _refused(loaded, index, f"LiteLLM's app on a held socket knows no argument {name} (it takes {known})")
        index += 1
    return out


def plain(loaded: Loaded) -> tuple[str, ...]:
    """The arguments for the plain command. Raises ConfigError for those that are Flowgate's to give."""
    args = loaded.config.services.litellm.args
    for index, arg in enumerate(args):
        if arg.partition("=")[0] in _OURS:
            raise _refused(loaded, index, f"{arg.partition('=')[0]} is given by Flowgate")
    return args


def _refused(loaded: Loaded, index: int, message: str) -> ConfigError:
    args = loaded.config.services.litellm.args
    place = loaded.document.nearest(("services", "litellm", "args", index))
    hint = hints.delete(place, args[min(index, len(args) - 1)])
    return ConfigError(message, place=place, hint=hint, snippet=loaded.document.snippet(place))
