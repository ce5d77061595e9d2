"""Real LiteLLM for tests: each version installed once by the real bootstrap and shared by every run."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from flowgate_engine.artifacts import bootstrap
from flowgate_engine.artifacts.store import Artifact
from flowgate_engine.config.schema import Config
from flowgate_engine.paths import Workspace, workspace_of

OLD = "1.75.8"
NEW = "1.106.2"
SHARED = "FLOWGATE_ARTIFACTS_DIR"


def shared_folder() -> Path:
    """Where tests keep artifacts: `FLOWGATE_ARTIFACTS_DIR`, else a folder in the user's cache.

    Put it into the environment of commands under test, so that they find what is installed here.
    """
    named = os.environ.get(SHARED)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
    return Path(base) / "flowgate-tests" / "artifacts"


def make_workspace(folder: Path, text: str = "") -> tuple[Workspace, Config]:
    """A workspace in `folder` whose config has `text` as its services section in flow style, and the config."""
    import yaml

    config = folder / "config" / "flowgate.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    document = f"config_version: 4\nservices: {text or '{}'}\nlitellm_base: {{model_list: []}}\n"
    config.write_text(document, "utf-8")
    (config.parent / "cliproxyapi.yaml").touch()
    return workspace_of(config), Config.model_validate(yaml.safe_load(document))


def litellm_environment(version: str = NEW) -> Artifact:
    """The installed environment of LiteLLM `version`; installs it first where it is missing (10 to 60 s).

    That it cannot be installed is the caller's failure, never a skip.
    """
    shared = shared_folder()
    shared.mkdir(parents=True, exist_ok=True)
    workspace, config = make_workspace(shared.parent / "flowgate-tests-workspace")
    with mock.patch.dict(os.environ, {SHARED: str(shared)}):
        result = bootstrap.download(workspace, config, "litellm", version)[0]
    if result.artifact is None:
        raise AssertionError(f"LiteLLM {version} cannot be installed: {result.error}")
    return result.artifact
