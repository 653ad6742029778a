"""What is deployed on Ray fits the server; how it runs, `make test-ray` shows."""

import re
from typing import Any

import yaml

from config import Settings
from tests.support.serving import ROOT
from tests.test_server import settings

FOLDER = ROOT / "deploy" / "ray"
OTHERS = {"FAIRSEQ2_CACHE_DIR"}


def application() -> dict[str, Any]:
    (found,) = yaml.safe_load((FOLDER / "serve.yaml").read_text())["applications"]
    assert isinstance(found, dict)
    return found


def test_ray_carries_no_request() -> None:
    """HAProxy does; Ray's proxies would end streams without finals."""
    content = yaml.safe_load((FOLDER / "serve.yaml").read_text())

    assert content["proxy_location"] == "Disabled"
    assert application()["route_prefix"] is None


def test_its_variables_are_settings_and_leave_time_to_stop() -> None:
    """And what is started exists."""
    variables = application()["runtime_env"]["env_vars"]
    (deployment,) = application()["deployments"]
    module, _, name = application()["import_path"].partition(":")
    program = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()

    assert {own.lower() for own in variables.keys() - OTHERS} <= set(
        Settings.model_fields
    )
    assert f"\n{name}: " in program
    assert f'@serve.deployment(name="{deployment["name"]}")' in program
    grace_s = int(variables["SHUTDOWN_GRACE_S"])
    assert deployment["graceful_shutdown_timeout_s"] > grace_s
    assert grace_s == settings().shutdown_grace_s


def test_ray_is_the_release_that_was_tested() -> None:
    """A newer one may treat processes differently; nothing of the server moves."""
    wanted = re.search(
        r"^ray\[serve\]>=([\d.]+),", (ROOT / "requirements/ray.in").read_text(), re.M
    )
    pinned = locked("requirements/ray.txt")
    light = locked("requirements-light.txt")

    assert wanted is not None
    assert pinned["ray"].startswith(wanted[1])
    assert {name: pinned[name] for name in light if name in pinned} == {
        name: version for name, version in light.items() if name in pinned
    }
    assert len(light.keys() - pinned.keys()) < 5  # those of requirements/languages.in


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
