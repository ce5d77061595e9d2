"""The environment that supervisor and services start from."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = ("GIT_", "PYTHON", "UV_", "LISTEN_")
_NAMES = frozenset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "FLOWGATE_INSTANCE", "_", "OLDPWD", "SHLVL"})


def base(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what belongs to git, to uv and to the Python that runs Flowgate.

    A service inherits proxies, certificates, locale and keys; `PYTHONPATH` or an active
    virtual environment of ours would break a LiteLLM environment, which is another.
    """
    kept = {k: v for k, v in environ.items() if k not in _NAMES and not k.startswith(_PREFIXES)}
    own = environ.get("VIRTUAL_ENV")
    if own and "PATH" in kept:
        kept["PATH"] = ":".join(p for p in kept["PATH"].split(":") if p.rstrip("/") != f"{own.rstrip('/')}/bin")
    return kept
