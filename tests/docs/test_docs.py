"""The documentation names what is there, and what is there is documented."""

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.commands.job import plan
from arcface_operator.controller.job_metrics import FAMILIES
from arcface_operator.controller.metrics import OperatorMetrics
from arcface_operator.preflight.job_file import read_job
from arcface_trainer.metrics import TrainMetrics
from support.shipped import alerts

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MONITORING = (ROOT / "docs" / "monitoring.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "operator" / "src").rglob("*.py"))


def names_served(registry: CollectorRegistry) -> set[str]:
    return set(re.findall(r"^# TYPE (\w+) ", generate_latest(registry).decode(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by, as GitHub and GitLab make it of them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_find_them(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    wanted = [(page.parent / target if target else page, anchor) for target, anchor in links]
    assert [(target.name, anchor) for target, anchor in wanted if anchor not in anchors(target)] == []


def test_every_metric_is_documented_and_no_other() -> None:
    served = names_served(TrainMetrics(0).registry) | names_served(OperatorMetrics(list).registry)
    served = {name for name in served if not name.endswith("_created")}
    named = set(re.findall(r"`(arcface_(?:train|job|operator|build)_\w+)", MONITORING))
    assert named == served
    assert {family.name for family in FAMILIES} <= {name.removesuffix("_total") for name in named}


def test_every_alert_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^\| (ArcFace\w+) \|", MONITORING, re.MULTILINE)) == {rule["alert"] for rule in alerts()}


def test_reasons_in_the_troubleshooting_are_the_operators() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    reasons = set(re.findall(r"`([A-Z][A-Za-z]+)`", text)) - {"RankTableReady", "Reachable"}
    api = (ROOT / "api" / "src" / "arcface_api" / "contract" / "reports.py").read_text()
    assert {reason for reason in reasons if f'"{reason}"' not in SOURCES + api} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_jobs_in_the_documentation_are_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
        if "kind: ArcFaceTrainingJob" in block:
            file = tmp_path / f"{number}.yaml"
            file.write_text(block)
            assert isinstance(read_job(file), ArcFaceTrainingJob), yaml.safe_load(block)


def test_the_walkthrough_tells_what_the_plan_says() -> None:
    page = (ROOT / "docs" / "walkthrough.md").read_text()
    ((example, counts),) = re.findall(
        r"\((?:\.\./)(examples/\S+\.yaml)\).*?arcface plan -f job.yaml (.*?)\n", page, re.DOTALL
    )
    said = CliRunner().invoke(plan, ["-f", str(ROOT / example), *counts.split()]).output
    (steps,) = re.findall(r"^steps per epoch +(\S+)$", said, re.MULTILINE)
    (loss,) = re.findall(r"^expected first loss +(\S+)$", said, re.MULTILINE)
    flowing = " ".join(page.split())
    assert f"{steps} steps an epoch, and the first loss to expect: {loss}." in flowing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paragraphs_keep_to_120_columns(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    rows = [line for line in text.splitlines() if not line.lstrip().startswith("|")]
    assert [line for line in rows if len(line) > 120] == []
