"""The Helm program on a test cluster."""

import json
from pathlib import Path
from typing import Any

import yaml

from arcface_operator.settings import Settings
from testbed.programs.binaries import binary
from testbed.programs.commands import run

IMAGES = ("image.repository=arcface-operator", "trainer.repository=arcface-trainer")
"""What the chart cannot do without."""
CHART = Path(__file__).resolve().parents[3] / "charts" / "arcface-operator"


class Helm:
    """Helm as an administrator, with one release of the chart, or of another state of it."""

    def __init__(
        self, kubeconfig: Path, namespace: str, release: str = "arcface-operator", chart: Path = CHART
    ) -> None:
        self.options = ["--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self.release = release
        self.chart = str(chart)

    def install(self, values: Path, *options: str) -> str:
        """Install the chart and wait until its pods are ready; what Helm prints."""
        return self("install", self.release, self.chart, "--values", str(values), "--wait", "--timeout=60s", *options)

    def upgrade(self, *values: str) -> str:
        """Change some values of the release, as the documents say it, and wait until its pods are ready."""
        changed = [f"--set={value}" for value in values]
        kept = "--reset-then-reuse-values"
        return self("upgrade", self.release, self.chart, kept, *changed, "--wait", "--timeout=60s")

    def rollback(self, revision: int) -> str:
        """Go back to a revision of the release, and wait until its pods are ready."""
        return self("rollback", self.release, str(revision), "--wait", "--timeout=60s")

    def test(self) -> str:
        """Run the tests of the release; what Helm prints."""
        return self("test", self.release, "--timeout=60s")

    def uninstall(self) -> str:
        """Remove the release and wait until its objects are gone."""
        return self("uninstall", self.release, "--wait", "--timeout=60s")

    def __call__(self, *arguments: str) -> str:
        """Standard output of a command; TestbedError with what it says if it fails."""
        return run([str(binary("helm")), *arguments, *self.options])


def rendered(*values: str, release: str = "arcface-operator", namespace: str = "arcface-system") -> str:
    """YAML of the chart with `--set` values; nothing is asked of a cluster."""
    chosen = [f"--set={value}" for value in (*IMAGES, *values)]
    return run([str(binary("helm")), "template", release, str(CHART), "--namespace", namespace, *chosen])


def objects(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Rendered objects by kind and name; those of one name in several namespaces are all of them the last."""
    found = [each for each in yaml.safe_load_all(rendered(*values)) if each]
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(named) == len({(*key, each["metadata"].get("namespace")) for key, each in named.items()})
    return named


def settings_of(*values: str) -> Settings:
    """The settings that the operator's pods read."""
    pod = objects(*values)["Deployment", "arcface-operator"]["spec"]["template"]
    text = pod["metadata"]["annotations"]["arcface.io/settings"]
    return Settings.from_json(json.dumps(yaml.safe_load(text)), "settings")


def notes(*values: str) -> str:
    """What Helm prints after the installation."""
    chosen = [f"--set={value}" for value in (*IMAGES, *values)]
    return run([str(binary("helm")), "install", "x", str(CHART), "--dry-run=client", "--namespace", "here", *chosen])
