"""What is deployed is well formed, says the same everywhere, and fits the server."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.metrics import Metrics
from benchmarks.common.http import local
from config import Settings
from deploy import healthcheck
from live.options import PROFILES
from tests.support.fakes import ScriptedModel
from tests.support.rooms import FLOOR
from tests.support.series import Series
from tests.support.serving import ROOT, app_in_thread, free_port
from tests.test_server import settings
from tools import build_dashboard

COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
# One server, and several.
ALONE = sorted(KUBERNETES.glob("*.yaml"))
REPLICAS = sorted((KUBERNETES / "replicas").glob("*.yaml"))
HAPROXY = ROOT / "deploy" / "haproxy"
GRAFANA = ROOT / "deploy" / "grafana"
# Read by huggingface_hub, which fetches repositories.
HUB = {"HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"}

# Of the image; the container's own address is not for settings.
FIXED = {"host", "port"}

Json = dict[str, Any]


def compose() -> Json:
    content = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(content, dict)
    return content


def read_by_compose(*flags: str, **variables: str) -> Json:
    """Have Docker Compose itself read the file; return the services it would start."""
    program = Path(sys.executable).with_name("docker-compose")
    done = subprocess.run(
        [program, "-f", COMPOSE, *flags, "config", "--format", "json"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert isinstance(services, dict)
    return services


class TestDockerfile:
    def test_hadolint_finds_nothing(self) -> None:
        """What is ignored there says why."""
        linter = Path(sys.executable).with_name("hadolint")
        done = subprocess.run(
            [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True
        )

        assert done.returncode == 0, done.stdout

    def test_the_last_target_is_the_one_for_gpus(self) -> None:
        """`docker build .` without a target builds that."""
        stages = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile(), re.MULTILINE)

        assert stages[-1] == "cuda"
        assert "cpu" in stages

    def test_the_short_form_for_kubernetes_is_valid(self) -> None:
        """The one in the guide, with the image that it builds."""
        short = re.findall(r"```yaml\n(apiVersion: .*?)```", guide(), re.DOTALL)

        for text in short:
            kubernetes_validate.validate(yaml.safe_load(text), "1.37", strict=True)
        assert "image: omniasr-server:latest" in short[0]

    def test_no_image_runs_as_root(self) -> None:
        """Both switch to a user before they start the server, by its number."""
        for target in ("cpu", "cuda"):
            stage = dockerfile().split(f" AS {target}\n")[1].split("\nFROM ")[0]

            assert "\nUSER 10001:10001\n" in stage
            assert stage.rstrip().endswith('ENTRYPOINT ["python", "server.py"]')

    def test_all_that_is_copied_is_let_through(self) -> None:
        """.dockerignore lets through what it names: also each package that is used."""
        ignore = (ROOT / ".dockerignore").read_text().splitlines()
        named = {line[1:] for line in ignore if line.startswith("!")}

        assert "*" in ignore
        assert {"*.py", "assets", "deploy/healthcheck.py"} <= named
        assert {name for name in FLOOR if (ROOT / name).is_dir()} <= named
        for source in re.findall(r"^COPY (\S+\.txt) ", dockerfile(), re.MULTILINE):
            assert source in named

    def test_the_base_may_be_pinned(self) -> None:
        """Both stages that begin anew begin at the same."""
        bases = re.findall(r"^FROM (\S+) AS (?:base|build)$", dockerfile(), re.M)

        assert "\nARG BASE=debian:bookworm-slim\n" in dockerfile()
        assert bases == ["${BASE}", "${BASE}"]

    def test_the_torch_index_may_be_chosen(self) -> None:
        """Also none, where it cannot be reached."""
        assert re.search(r"^ARG TORCH_INDEX=https://\S+/cpu$", dockerfile(), re.M)
        assert '${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}' in dockerfile()


def guide() -> str:
    return (ROOT / "docs" / "install.md").read_text()


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


class TestHealthCheck:
    def test_it_succeeds_if_the_server_is_ready(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the port that the settings name."""
        with app_in_thread(settings(), ScriptedModel) as url:
            monkeypatch.setenv("PORT", url.rsplit(":", 1)[1])

            assert healthcheck.main() == 0

    def test_it_fails_if_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing listens there."""
        monkeypatch.setenv("PORT", str(free_port()))

        assert healthcheck.main() == 1


class TestCompose:
    @pytest.mark.parametrize(
        "service", ["omniasr", "omniasr-cpu", "omniasr-replica", "omniasr-replica-cpu"]
    )
    def test_every_setting_passes_through(self, service: str) -> None:
        """A new one is added to the file, or it has no effect there."""
        passed = compose()["services"][service]["environment"]
        if "replica" in service:
            assert passed.pop("TRUSTED_PROXIES").startswith("${TRUSTED_PROXIES:-")
            passed["TRUSTED_PROXIES"] = None

        assert set(passed) == HUB | {n.upper() for n in Settings.model_fields} - {
            n.upper() for n in FIXED
        }
        assert set(passed.values()) == {None}  # as the environment has it

    def test_the_two_never_start_together(self) -> None:
        """They would fight over the port. Compose holds the file to its schema, too."""
        assert set(read_by_compose()) == {"omniasr"}
        assert set(read_by_compose("--profile", "gpu")) == {"omniasr"}
        assert set(read_by_compose("--profile", "cpu")) == {"omniasr-cpu"}

    @pytest.mark.parametrize("kind", ["", "-cpu"])
    def test_replicas_are_reached_through_haproxy(self, kind: str) -> None:
        """By the name that they share; none has a port of its own."""
        services = read_by_compose("--profile", f"replicas{kind}", REPLICAS="3")
        servers, haproxy = services[f"omniasr-replica{kind}"], services["haproxy"]
        (alias,) = servers["networks"]["default"]["aliases"]
        (volume,) = haproxy["volumes"]

        assert set(services) == {f"omniasr-replica{kind}", "haproxy"}
        assert servers["deploy"]["replicas"] == 3
        assert not servers.get("ports")
        assert haproxy["ports"][0]["target"] == 8000
        assert haproxy["environment"]["SERVERS"] == f"{alias}:8000"
        assert Path(volume["source"]) == HAPROXY / "dns.cfg"
        assert volume["target"] == "/usr/local/etc/haproxy/haproxy.cfg"

    def test_values_reach_the_server_and_the_port_the_host(self) -> None:
        """Inside, it is always the same."""
        (service,) = read_by_compose(MODEL_CARD="mine", PORT="9000").values()

        assert service["environment"]["MODEL_CARD"] == "mine"
        assert service["ports"][0]["published"] == "9000"
        assert service["ports"][0]["target"] == 8000
        assert "PORT" not in service["environment"]

    def test_it_is_published_where_the_operator_says(self) -> None:
        """On all addresses of the machine, as Docker does, or on one."""
        (everywhere,) = read_by_compose().values()
        (here,) = read_by_compose(PUBLISH="127.0.0.1", PORT="9000").values()

        assert "host_ip" not in everywhere["ports"][0]
        assert here["ports"][0]["host_ip"] == "127.0.0.1"
        assert here["ports"][0]["published"] == "9000"

    def test_the_root_is_read_only_and_the_weights_stay(self) -> None:
        """For both; and the GPU one asks for a GPU."""
        services = read_by_compose() | read_by_compose("--profile", "cpu")
        services |= read_by_compose(
            "--profile", "replicas", "--profile", "replicas-cpu"
        )
        assert services.pop("haproxy")["read_only"] is True

        for service in services.values():
            assert service["read_only"] is True
            assert service["volumes"][0]["type"] == "volume"
            assert service["volumes"][0]["target"] == "/data"
        for name in ("omniasr", "omniasr-replica"):
            (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
            assert device["capabilities"] == ["gpu"]

    def test_memory_and_processes_have_no_limit_unless_the_operator_says(self) -> None:
        """0 and -1 are Docker's words for that."""
        (free,) = read_by_compose().values()
        (held,) = read_by_compose(MEMORY_LIMIT="12g", PIDS_LIMIT="512").values()

        assert free.get("mem_limit", "0") == "0"
        assert free["pids_limit"] == -1
        assert held["mem_limit"] == str(12 * 2**30)
        assert held["pids_limit"] == 512

    def test_it_waits_for_the_drain(self) -> None:
        """Docker kills after 10 s unless told otherwise."""
        grace = Settings.model_fields["shutdown_grace_s"].default

        for service in compose()["services"].values():
            assert int(service["stop_grace_period"].removesuffix("s")) > grace


class TestKubernetes:
    @pytest.mark.parametrize("path", ALONE + REPLICAS, ids=lambda path: path.name)
    def test_kubernetes_own_schemas_accept_it(self, path: Path) -> None:
        """Strictly: no field that it does not know."""
        for manifest in yaml.safe_load_all(path.read_text()):
            kubernetes_validate.validate(manifest, "1.37", strict=True)

    @pytest.mark.parametrize("paths", [ALONE, REPLICAS], ids=["alone", "replicas"])
    def test_a_pod_may_finish_what_it_has_begun(self, paths: Sequence[Path]) -> None:
        """The grace period is longer than the pause before and the drain together."""
        pod = pod_of(found("Deployment", paths))
        drain_s = int(found("ConfigMap", paths)["data"]["SHUTDOWN_GRACE_S"])

        assert pod["terminationGracePeriodSeconds"] > pause_s(pod) + drain_s

    def test_haproxy_waits_for_the_longest_session(self) -> None:
        """Kubernetes no less than HAProxy itself, whose time the configuration has."""
        pod = pod_of(found("Deployment", REPLICAS, "omniasr-haproxy"))
        longest_s = Settings.model_fields["max_session_s"].default
        stop = re.search(r"hard-stop-after (\d+)h", (HAPROXY / "dns.cfg").read_text())

        assert stop is not None
        assert int(stop[1]) * 3600 >= longest_s
        grace_s = pod["terminationGracePeriodSeconds"]
        assert grace_s >= int(stop[1]) * 3600 + pause_s(pod)

    @pytest.mark.parametrize("paths", [ALONE, REPLICAS], ids=["alone", "replicas"])
    def test_a_full_server_is_not_restarted(self, paths: Sequence[Path]) -> None:
        """With READY_WHEN_FULL=false it says that it is not ready, but it works."""
        (container,) = pod_of(found("Deployment", paths))["containers"]

        assert container["livenessProbe"]["httpGet"]["path"] == "/ready?full=ok"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"

    @pytest.mark.parametrize(
        ("paths", "name"),
        [(ALONE, "omniasr"), (REPLICAS, "omniasr"), (REPLICAS, "omniasr-haproxy")],
    )
    def test_what_selects_pods_selects_those_of_a_deployment(
        self, paths: Sequence[Path], name: str
    ) -> None:
        """Services, budgets and policies, which let in what the pods listen to."""
        template = found("Deployment", paths, name)["spec"]["template"]
        labels = template["metadata"]["labels"]
        ports = {port["name"] for port in pod_of(template)["containers"][0]["ports"]}
        policy = found("NetworkPolicy", paths, name)["spec"]
        budget = found("PodDisruptionBudget", paths, name)["spec"]
        let_in = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}

        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        assert budget["selector"]["matchLabels"].items() <= labels.items()
        assert let_in == ports

    def test_haproxy_finds_the_servers_and_clients_find_haproxy(self) -> None:
        """By a headless service, and by one of type LoadBalancer."""
        (haproxy,) = pod_of(found("Deployment", REPLICAS, "omniasr-haproxy"))[
            "containers"
        ]
        settings = {own["name"]: own.get("value") for own in haproxy["env"]}
        servers = found("Service", REPLICAS, "omniasr-servers")["spec"]
        outside = found("Service", REPLICAS, "omniasr")["spec"]

        assert servers["clusterIP"] == "None"
        assert servers["selector"] == {"app.kubernetes.io/name": "omniasr"}
        assert settings["SERVERS"].startswith("omniasr-servers.$(NAMESPACE).svc.")
        assert outside["type"] == "LoadBalancer"
        assert outside["selector"] == {"app.kubernetes.io/name": "omniasr-haproxy"}

    def test_it_scales_by_what_there_is(self) -> None:
        """The rule in the comment gives the metric its name, from series of ours."""
        text = (KUBERNETES / "replicas" / "scaling.yaml").read_text()
        scaler = found("HorizontalPodAutoscaler", REPLICAS)["spec"]
        (metric,) = scaler["metrics"]
        asked = names_in("\n".join(re.findall("^#.*", text, re.MULTILINE)))

        assert scaler["scaleTargetRef"]["name"] == "omniasr"
        assert f"as: {metric['pods']['metric']['name']}" in text
        assert asked - {"omniasr_taken_share"} == {
            "omniasr_free_streams",
            "omniasr_speaking_streams",
        }
        assert asked - {"omniasr_taken_share"} <= set(
            re.findall(r"^# TYPE (\w+)", exposition(), re.MULTILINE)
        )

    @pytest.mark.parametrize("paths", [ALONE, REPLICAS], ids=["alone", "replicas"])
    def test_the_settings_are_the_servers(self, paths: Sequence[Path]) -> None:
        """No name is misspelt."""
        names = set(found("ConfigMap", paths)["data"])

        assert names <= {name.upper() for name in Settings.model_fields}


def found(kind: str, paths: Sequence[Path], name: str = "") -> Json:
    """Return the manifest of a kind; the name may be left out for that of servers."""
    manifests = [
        manifest
        for path in paths
        for manifest in yaml.safe_load_all(path.read_text())
        if manifest["kind"] == kind
    ]
    named = [own for own in manifests if own["metadata"]["name"] == name or not name]
    if not name:
        named = [own for own in named if "haproxy" not in own["metadata"]["name"]]
    (manifest,) = named
    assert isinstance(manifest, dict)
    return manifest


def pod_of(owner: Json) -> Json:
    """Return the pod of a deployment, or of its template."""
    spec = owner["spec"]
    pod = spec["template"]["spec"] if "template" in spec else spec
    assert isinstance(pod, dict)
    return pod


def pause_s(pod: Json) -> int:
    """Return for how long a pod waits before it is told to stop."""
    (container,) = pod["containers"]
    return int(container["lifecycle"]["preStop"]["exec"]["command"][1])


class TestSeveralProcesses:
    UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())

    @pytest.mark.parametrize("name", ["haproxy.cfg", "dns.cfg"])
    def test_haproxy_accepts_its_configuration(self, name: str) -> None:
        """The program itself says so, where it is installed."""
        if (haproxy := shutil.which("haproxy")) is None:
            pytest.skip("haproxy is not installed")
        done = subprocess.run(
            [haproxy, "-c", "-f", HAPROXY / name],
            env={"SERVERS": "localhost:8000"},
            capture_output=True,
        )

        assert done.returncode == 0, done.stderr

    def test_the_configurations_differ_in_where_servers_are(self) -> None:
        """And in who may read the figures; all else is run with processes."""
        ports, names = (directives(name) for name in ("haproxy.cfg", "dns.cfg"))

        assert {line.split()[0] for line in ports - names} == {"server", "bind"}
        assert {line.split()[0] for line in names - ports} == {
            *("bind", "default-server", "server-template", "resolvers"),
            *("parse-resolv-conf", "accepted_payload_size", "hold"),
        }

    def test_the_guide_says_of_each_limit_for_what_it_holds(self) -> None:
        """For a stream, a request, a process, or all of them."""
        guide = (ROOT / "docs" / "scaling.md").read_text()
        table = guide.split("\n### Limits\n")[1].split("\n#")[0]
        limits = ("max_", "min_", "quota_")

        for name in Settings.model_fields:
            if name.startswith(limits):
                assert f"`{name.upper()}`" in table, name

    def test_systemd_accepts_the_units(self, tmp_path: Path) -> None:
        """But for the program, which is not installed here."""
        if shutil.which("systemd-analyze") is None:
            pytest.skip("systemd is not installed")
        for unit in self.UNITS:
            text = unit.read_text().replace(
                "/opt/omniasr/bin/omniasr-server", "/bin/true"
            )
            (tmp_path / unit.name).write_text(text)
        names = [tmp_path / "omniasr@1.service", tmp_path / "omniasr.socket"]
        done = subprocess.run(
            ["systemd-analyze", "verify", *names], capture_output=True, text=True
        )

        assert (done.returncode, done.stderr) == (0, "")

    def test_units_set_what_there_is(self) -> None:
        """And leave the server the time that it takes to stop."""
        others = {"FAIRSEQ2_CACHE_DIR"}
        for unit in self.UNITS:
            text = unit.read_text()
            lines = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
            names = {each.partition("=")[0] for line in lines for each in line.split()}
            assert {name.lower() for name in names - others} <= set(
                Settings.model_fields
            )
            if unit.suffix == ".service":
                stop_s = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
                assert stop_s is not None
                assert int(stop_s[1]) > settings().shutdown_grace_s


def directives(name: str) -> set[str]:
    """Return the lines of a configuration of HAProxy without their comments."""
    lines = (HAPROXY / name).read_text().splitlines()
    bare = (line.partition(" #")[0].strip() for line in lines)
    return {line for line in bare if line and not line.startswith("#")}


class TestOperations:
    def test_the_document_names_all_there_is_to_know(self) -> None:
        """Every setting, every series and every alert."""
        document = (ROOT / "docs" / "operations.md").read_text()
        series = re.findall(r"^# TYPE (omniasr_\w+)", exposition(), re.MULTILINE)
        rules = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"][0]

        for name in Settings.model_fields:
            assert f"`{name.upper()}" in document, name
        for name in series:
            assert f"`{name}`" in document, name
        for rule in rules["rules"]:
            assert rule["alert"] in document

    def test_the_buckets_are_those_of_the_histograms(self) -> None:
        """As a query for a share below a limit needs them."""
        table = document_section("### Metrics").split("| Histogram |")[1]
        stated = re.findall(r"^\| `(omniasr_\w+)` \| (.+) \|$", table, re.MULTILINE)

        assert dict(stated) == buckets_of(Metrics().exposition()[0].decode())

    def test_what_a_stream_costs_is_what_was_measured(self) -> None:
        """The least and the most of all suites, for each profile."""
        sizing = " ".join(document_section("## Sizing").split())
        results = (ROOT / "benchmarks" / "results" / "streaming.jsonl").read_text()
        rows = [json.loads(row) for row in results.splitlines()]

        for name in PROFILES:
            factors = [row["encoded_per_audio"] for row in rows if row["setup"] == name]
            stated = rf"{min(factors):.1f} to {max(factors):.1f}\b[^.;,]* `{name}`"
            assert re.search(stated, sizing), name


def document_section(title: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text()
    return text.split(f"\n{title}\n")[1].split(f"\n{title.split()[0]} ")[0]


def buckets_of(text: str) -> dict[str, str]:
    """The upper bounds of each histogram, as a list in words."""
    found: dict[str, list[str]] = {}
    for name, bound in re.findall(r'^(omniasr_\w+)_bucket\{.*le="([^"]+)"', text, re.M):
        bounds = found.setdefault(name, [])
        if bound != "+Inf" and f"{float(bound):g}" not in bounds:
            bounds.append(f"{float(bound):g}")
    return {name: ", ".join(bounds) for name, bounds in found.items()}


def exposition() -> str:
    """What a running server tells Prometheus."""
    with app_in_thread(settings(), ScriptedModel) as url:
        return local.get(url + "/metrics").text


class TestGrafana:
    def test_the_dashboard_is_what_its_program_writes(self) -> None:
        """It is never edited by hand."""
        assert build_dashboard.DASHBOARD.read_text() == build_dashboard.text()

    def test_all_it_asks_for_is_there(self) -> None:
        """In the dashboard and in the alerts, of a server that runs."""
        asked = set()
        for panel in build_dashboard.dashboard()["panels"]:
            for target in panel["targets"]:
                asked |= names_in(target["expr"])
        for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]:
            for rule in group["rules"]:
                asked |= names_in(rule["expr"])
        with app_in_thread(settings(), ScriptedModel) as url:
            told = {name.split("{")[0] for name in Series.of(url).values}

        assert asked
        assert asked <= told

    def test_every_series_has_a_panel(self) -> None:
        """But for the name of the model, and what the real-time factor shows."""
        shown = {
            re.sub("_bucket$", "", name)
            for panel in build_dashboard.dashboard()["panels"]
            for target in panel["targets"]
            for name in names_in(target["expr"])
        }

        series = set(re.findall(r"^# TYPE (omniasr_\w+)", exposition(), re.MULTILINE))

        without = {
            "omniasr_model_info",
            "omniasr_process_info",
            "omniasr_model_audio_seconds_total",
        }
        assert series - shown == without

    def test_promtool_finds_nothing(self) -> None:
        """In the rules, their tests, and what a running server tells."""
        if (promtool := shutil.which("promtool")) is None:
            pytest.skip("promtool is not here (Debian: apt-get install prometheus)")
        metrics = exposition()
        for command, content in (
            (["check", "rules", "alerts.yml"], None),
            (["test", "rules", "alerts_test.yml"], None),
            (["check", "metrics"], metrics),
        ):
            done = subprocess.run(
                [promtool, *command],
                cwd=GRAFANA,
                input=content,
                capture_output=True,
                text=True,
            )

            assert done.returncode == 0, done.stdout + done.stderr

    def test_labels_of_the_dashboard_exist(self) -> None:
        """What panels are split by."""
        told = Metrics().exposition()[0].decode()
        text = json.dumps(build_dashboard.dashboard())

        for label in re.findall(r"sum by \((\w+)\)", text):
            assert label == "le" or f'{label}="' in told


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:omniasr|process)_\w+", expression))
