"""Dashboard *ArcFace Fleet*: all jobs, what they hold, what they reached, and the operator."""

import panels
from panels import CLUSTER, Panel, at_the_end, choice, curves, dashboard, limits, number, override, row, table, target

JOBS = f'{CLUSTER},namespace=~"$namespace"'
RATE = "[$__rate_interval]"
LEADERS = f"arcface_operator_is_leader{{{CLUSTER}}}"
OF_A_ROW = panels.job_link("__data.fields.namespace", "__data.fields.name")
OF_A_LINE = panels.job_link("__field.labels.namespace", "__field.labels.name")


def each(metric: str, *labels: str) -> str:
    """A figure of every job once, whichever replicas of the operator serve it."""
    return f"max by ({', '.join(('namespace', 'name', *labels))}) ({metric}{{{JOBS}}})"


def images() -> str:
    """Images a second of every job; ranks call it by another label than the operator."""
    of_ranks = f"sum by (namespace, arcface_io_job) (rate(arcface_train_images_total{{{JOBS}}}{RATE}))"
    named = f'label_replace({of_ranks}, "name", "$1", "arcface_io_job", "(.+)")'
    return f"sum by (namespace, name) ({named})"


def quantile(share: float) -> str:
    """Of the time of one look at a job."""
    return (
        f"histogram_quantile({share}, sum by (le) (rate(arcface_operator_reconcile_seconds_bucket{{{CLUSTER}}}{RATE})))"
    )


def build() -> Panel:
    """The dashboard."""
    namespace = choice(
        "namespace", "Namespace", f"label_values(arcface_job_phase{{{CLUSTER}}}, namespace)", takes_all=True
    )
    rows = [
        row("Jobs", 8, *jobs()),
        row("Each of them", 9, every_job()),
        row("How long they wait", 8, *waiting()),
        row("What they reached", 9, *results()),
        row("Operator", 8, *operator()),
    ]
    return dashboard("arcface-fleet", "ArcFace Fleet", [namespace], rows, [])


def jobs() -> list[Panel]:
    """Counts."""
    return [
        curves(
            "Jobs by phase",
            "",
            "none",
            target(f"sum by (phase) ({each('arcface_job_phase', 'phase')}) > 0", "{{phase}}"),
            min=0,
            decimals=0,
            overrides=panels.phase_colours(),
        ),
        curves(
            "Devices held",
            "Devices of pods that are ready; with CPU jobs a device is a rank.",
            "none",
            target(f"sum by (accelerator) ({each('arcface_job_devices', 'accelerator')})", "{{accelerator}}"),
            min=0,
            decimals=0,
        ),
        curves(
            "Images a second by job",
            "",
            "none",
            target(images(), "{{namespace}}/{{name}}"),
            links=[OF_A_LINE],
            min=0,
        ),
    ]


def every_job() -> Panel:
    """A row for each, from where its own dashboard opens."""
    queries = [
        f"{each('arcface_job_phase', 'phase')} == 1",
        each("arcface_job_restarts_total"),
        images(),
        f"time() - {each('arcface_job_waiting_start_timestamp_seconds', 'reason')}",
    ]
    names = {"Value #B": "Restarts", "Value #C": "Images a second", "Value #D": "Has waited", "reason": "Waits for"}
    order = ["namespace", "name", "phase", "Value #C", "Value #B", "reason", "Value #D"]
    shape = {
        "excludeByName": {"Time": True, "Value #A": True},
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": names,
    }
    colours = {"type": "value", "options": {phase: {"color": colour} for phase, colour in panels.PHASES.items()}}
    return table(
        "Every job",
        "A job's name opens its dashboard. What keeps it from running is told where something does.",
        "none",
        *(at_the_end(target(query), format="table") for query in queries),
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": shape}],
        overrides=[
            override("name", {"links": [OF_A_ROW]}),
            override("phase", {"mappings": [colours], "custom.cellOptions": {"type": "color-text"}}),
            override("Has waited", {"unit": "s"}),
            override("Images a second", {"decimals": 0}),
        ],
    )


def waiting() -> list[Panel]:
    """Until a job trains, and again after faults."""
    queue, startup = each("arcface_job_queue_seconds"), each("arcface_job_startup_seconds")
    return [
        curves(
            "Queue time of the jobs that are there",
            "From the first look at a job to all its pods running: storage, scheduler, image.",
            "s",
            target(f"quantile(0.5, {queue})", "median"),
            target(f"max({queue})", "longest"),
            min=0,
        ),
        curves(
            "Start-up time of the jobs that are there",
            "From the first look at a job to ranks that are ready to step: the queue, the rank table, images, joining.",
            "s",
            target(f"quantile(0.5, {startup})", "median"),
            target(f"max({startup})", "longest"),
            min=0,
        ),
        curves(
            "Restarts",
            "Of all gangs, for any reason.",
            "none",
            target(each("arcface_job_restarts_total"), "{{namespace}}/{{name}}"),
            links=[OF_A_LINE],
            min=0,
            decimals=0,
        ),
    ]


def results() -> list[Panel]:
    """Evaluations and failures."""
    return [
        table(
            "Leaderboard",
            "Accuracy of the jobs' evaluations by set; a click on a heading sorts.",
            "percentunit",
            at_the_end(target(each("arcface_job_evaluation_accuracy", "dataset")), format="time_series"),
            transformations=[{"id": "joinByLabels", "options": {"value": "dataset", "join": ["namespace", "name"]}}],
            overrides=[override("name", {"links": [OF_A_ROW]})],
            sortBy=[{"displayName": "lfw", "desc": True}],
        ),
        number(
            "Failed jobs by reason",
            "Jobs that are still there.",
            "none",
            target(f"sum by (reason) ({each('arcface_job_failed', 'reason')})", "{{reason}}"),
            noValue="none",
            **limits((None, "green"), (1, "red")),
        ),
    ]


def operator() -> list[Panel]:
    """Whether the operator does its work."""
    return [
        number(
            "Leaders",
            "Replicas that act, by the namespace of each release that was there within the hour: one.",
            "none",
            target(
                f"sum by (namespace) (max by (namespace, pod) ({LEADERS})) "
                f"or sum by (namespace) (last_over_time({LEADERS}[1h])) * 0",
                "{{namespace}}",
            ),
            noValue="none",
            **limits((None, "red"), (1, "green"), (2, "red")),
        ),
        curves(
            "Time of one look at a job",
            "",
            "s",
            target(quantile(0.5), "p50"),
            target(quantile(0.99), "p99"),
            min=0,
        ),
        curves(
            "Looks and failed looks a second",
            "A look that fails is taken again; the operator's log tells why.",
            "none",
            target(f"sum(rate(arcface_operator_reconcile_seconds_count{{{CLUSTER}}}{RATE}))", "looks"),
            target(f"sum(rate(arcface_operator_reconcile_errors_total{{{CLUSTER}}}{RATE}))", "failed"),
            min=0,
        ),
    ]
