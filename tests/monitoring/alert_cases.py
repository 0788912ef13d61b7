"""Series on which each alert must fire, and on which it must not."""

RANK = 'namespace="faces",arcface_io_job="r100",rank="{rank}"'
JOB = 'namespace="faces",name="r100"'
OF_RANKS = {"namespace": "faces", "arcface_io_job": "r100"}
OF_JOBS = {"namespace": "faces", "name": "r100"}


def ranks(name: str, *values: str) -> dict[str, str]:
    """A series of each rank."""
    return {f"{name}{{{RANK.format(rank=rank)}}}": value for rank, value in enumerate(values)}


def job(name: str, labels: str, values: str) -> dict[str, str]:
    """A series about the job."""
    return {f"{name}{{{JOB}{labels}}}": values}


def handed_over(name: str, labels: str, before: str, after: str) -> dict[str, str]:
    """A series about the job as two leaders serve it, the second a minute after the first has gone."""
    return job(name, f'{labels},pod="a"', before) | job(name, f'{labels},pod="b"', after)


def leads(namespace: str, pod: str, values: str) -> dict[str, str]:
    """Whether a replica leads."""
    return {f'arcface_operator_is_leader{{namespace="{namespace}",pod="{pod}"}}': values}


TRAINS = job("arcface_job_phase", ',phase="Training"', "1x240")
SINCE_START = job("arcface_job_training_start_timestamp_seconds", "", "0x240")


def in_phase(phase: str) -> dict[str, str]:
    """The job in a phase."""
    return job("arcface_job_phase", f',phase="{phase}"', "1x240")


def waits(phase: str, reason: str, values: str = "0x1600") -> dict[str, str]:
    """The job, which has waited since the first minute."""
    return job("arcface_job_waiting_start_timestamp_seconds", f',phase="{phase}",reason="{reason}"', values)


def restarts(values: str) -> dict[str, str]:
    """The job with its count of restarts."""
    return job("arcface_job_restarts_total", "", values)


def table(ready: str) -> dict[str, str]:
    """A rank table of 16 ranks."""
    name = "arcface_job_rank_table_ranks"
    return job(name, ',state="ready"', ready) | job(name, ',state="total"', "16x30")


def handed_table(ready: str, total: str) -> dict[str, str]:
    """Its ranks as two leaders serve them, with minutes of none between."""
    name, later = "arcface_job_rank_table_ranks", "_x11 {}x20"
    known = handed_over(name, ',state="ready"', f"{ready}x9 stale", later.format(ready))
    return known | handed_over(name, ',state="total"', f"{total}x9 stale", later.format(total))


LOOKS = {"arcface_operator_reconcile_seconds_count{}": "0+60x240"}
WAIT = "arcface_train_data_wait_seconds_total"
DISTURBED = "_x1100 0x9 stale " + "_x1189 0x9 stale " * 4
"""Ten minutes each 20 hours."""
VERIFIES = ranks("arcface_train_verification_images", "0+96x60 5760x30")
HANGS = ranks("arcface_train_verification_images", "5760x30")

RESTARTED = {
    f'arcface_train_step{{namespace="faces",arcface_io_job="r100",rank="0",instance="{instance}"}}': values
    for instance, values in (("a", "70x30 stale"), ("b", "_x39 71x30"))
}

CASES = [
    ("ArcFaceJobStalled", ranks("arcface_train_step", "70x30"), 26, OF_RANKS, "stands still"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "_x9 70x30"), 33, None, "a start that hangs, not for long yet"),
    ("ArcFaceJobStalled", RESTARTED, 63, None, "a restart that hangs as the one before, not for long yet"),
    ("ArcFaceJobStalled", RESTARTED, 66, OF_RANKS, "a restart that hangs as the one before"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0+1x30"), 20, None, "steps"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0x30"), 20, None, "compiles before its first step"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0+1x14 14x8 15+1x30"), 23, None, "verifies for 8 minutes"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "0+1x14 14x40"), 41, OF_RANKS, "a hang that began at step 14"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "70x90") | VERIFIES, 60, None, "verifies for an hour"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "70x90") | VERIFIES, 90, OF_RANKS, "hangs after a verification"),
    ("ArcFaceJobStalled", ranks("arcface_train_step", "70x90") | HANGS, 30, OF_RANKS, "hangs in a verification"),
    ("ArcFaceJobDiverging", ranks("arcface_train_skipped_steps_total", "0+1x30", "0+1x30"), 15, OF_RANKS, "skips"),
    ("ArcFaceJobDiverging", ranks("arcface_train_skipped_steps_total", "2x30", "2x30"), 15, None, "skipped long ago"),
    (
        "ArcFaceJobDiverging",
        {**ranks("arcface_train_skipped_steps_total", "0+1x30"), **ranks("arcface_train_loss_scale", "1024x30")},
        15,
        None,
        "a loss scale that is tried at twice as much now and then, at the cost of a step",
    ),
    (
        "ArcFaceJobDiverging",
        {**ranks("arcface_train_skipped_steps_total", "0+1x30"), **ranks("arcface_train_loss_scale", "1x30")},
        15,
        OF_RANKS,
        "the loss scale is at its floor, or there is none",
    ),
    ("ArcFaceJobDiverging", ranks("arcface_train_loss", "2.5 NaN NaN NaN NaN NaN"), 5, OF_RANKS, "loss is no number"),
    ("ArcFaceJobDiverging", ranks("arcface_train_loss", "2.5x30"), 5, None, "loss is a number"),
    (
        "ArcFaceJobFailed",
        job("arcface_job_failed", ',reason="Diverged"', "1x9"),
        5,
        {**OF_JOBS, "reason": "Diverged"},
        "failed",
    ),
    (
        "ArcFaceJobFailed",
        handed_over("arcface_job_failed", ',reason="Diverged"', "1x9 stale", "_x12 1x30"),
        11,
        {**OF_JOBS, "reason": "Diverged"},
        "between two leaders",
    ),
    (
        "ArcFaceJobFailed",
        handed_over("arcface_job_failed", ',reason="Diverged"', "1x30", "1x30"),
        15,
        {**OF_JOBS, "reason": "Diverged"},
        "one alert for what two replicas serve",
    ),
    (
        "ArcFaceJobFailed",
        job("arcface_job_failed", ',reason="Diverged"', "1x9 stale"),
        16,
        None,
        "the job is gone",
    ),
    (
        "ArcFaceJobFailed",
        job("arcface_job_failed", ',reason="GateMissed"', "1x9"),
        5,
        None,
        "another alert tells of gates",
    ),
    ("ArcFaceJobRestartsTooOften", job("arcface_job_restarts_capped", "", "1x9"), 5, OF_JOBS, "they count by now"),
    ("ArcFaceJobRestartsTooOften", job("arcface_job_restarts_capped", "", "0x9"), 5, None, "they do not"),
    ("ArcFaceRankStraggles", ranks(WAIT, "0+1x60", "0+1x60", "0+30x60"), 30, OF_RANKS, "one rank waits"),
    ("ArcFaceRankStraggles", ranks(WAIT, "0+30x60", "0+30x60", "0+30x60"), 30, None, "all wait"),
    ("ArcFaceJobStarvesForData", ranks(WAIT, "0+30x60", "0+30x60"), 30, OF_RANKS, "half the time"),
    ("ArcFaceJobStarvesForData", ranks(WAIT, "0+3x60", "0+3x60"), 30, None, "a twentieth of the time"),
    ("ArcFaceCheckpointTooOld", {**TRAINS, **SINCE_START}, 130, OF_JOBS, "never saved"),
    (
        "ArcFaceCheckpointTooOld",
        {**TRAINS, **SINCE_START, **job("arcface_job_checkpoint_timestamp_seconds", "", "60x240")},
        130,
        OF_JOBS,
        "saved long ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {**TRAINS, **SINCE_START, **job("arcface_job_checkpoint_timestamp_seconds", "", "3600x240")},
        130,
        None,
        "saved an hour ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {
            **TRAINS,
            **job("arcface_job_training_start_timestamp_seconds", "", "7000x240"),
            **job("arcface_job_checkpoint_timestamp_seconds", "", "0x240"),
        },
        130,
        None,
        "resumed a moment ago",
    ),
    (
        "ArcFaceCheckpointTooOld",
        {**job("arcface_job_phase", ',phase="Training"', "0x240"), **SINCE_START},
        130,
        None,
        "ended",
    ),
    (
        "ArcFaceGateFailed",
        job("arcface_job_gate_passed", ',metric="lfw.accuracy"', "0x9"),
        5,
        {**OF_JOBS, "metric": "lfw.accuracy"},
        "missed",
    ),
    ("ArcFaceGateFailed", job("arcface_job_gate_passed", ',metric="lfw.accuracy"', "1x9"), 5, None, "passed"),
    (
        "ArcFaceGateFailed",
        handed_over("arcface_job_gate_passed", ',metric="lfw.accuracy"', "0x9 stale", "_x12 0x30"),
        11,
        {**OF_JOBS, "metric": "lfw.accuracy"},
        "between two leaders",
    ),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x30"), 16, OF_JOBS, "cut off"),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x10 1x20"), 16, None, "a start that took a while"),
    ("ArcFaceJobUnreachable", job("arcface_job_reachable", "", "0x9 _x20"), 16, None, "ended"),
    (
        "ArcFaceJobUnreachable",
        handed_over("arcface_job_reachable", "", "0x9 stale", "_x11 0x20"),
        17,
        OF_JOBS,
        "cut off from one leader and from the next",
    ),
    ("ArcFaceRankTableStuck", {**table("8x30"), **in_phase("Starting")}, 12, OF_JOBS, "half of it"),
    (
        "ArcFaceRankTableStuck",
        {**handed_table("8", "16"), **in_phase("Starting")},
        14,
        OF_JOBS,
        "half of it under two leaders",
    ),
    ("ArcFaceRankTableStuck", {**table("0 8 16x30"), **in_phase("Starting")}, 12, None, "whole after two minutes"),
    ("ArcFaceRankTableStuck", {**table("0x30"), **in_phase("Queued")}, 12, None, "waits in a queue"),
    ("ArcFaceRankTableStuck", {**table("8x30"), **in_phase("Failed")}, 12, None, "has ended"),
    ("ArcFaceJobPending", waits("Pending", "DevicesMissing"), 75, {**OF_JOBS, "reason": "DevicesMissing"}, "no card"),
    ("ArcFaceJobPending", waits("Pending", "DevicesMissing"), 50, None, "not for an hour yet"),
    ("ArcFaceJobPending", waits("Queued", "Queued"), 70, None, "a queue's business"),
    (
        "ArcFaceJobPending",
        waits("Pending", "Creating", "0x58 stale"),
        62,
        None,
        "what was said before it started stays for a while",
    ),
    (
        "ArcFaceJobPending",
        {**waits("Queued", "Queued", "0x99 stale"), **waits("Queued", "ClaimMissing", "_x100 0x30")},
        115,
        {**OF_JOBS, "reason": "ClaimMissing"},
        "its claim vanishes while it is queued",
    ),
    ("ArcFaceJobQueued", waits("Queued", "PartlyHeld"), 1500, {**OF_JOBS, "reason": "PartlyHeld"}, "room for a part"),
    ("ArcFaceJobQueued", waits("Queued", "ClaimMissing"), 1500, None, "another alert tells of claims"),
    ("ArcFaceJobQueued", waits("Queued", "Queued"), 1500, {**OF_JOBS, "reason": "Queued"}, "a day"),
    ("ArcFaceJobQueued", waits("Queued", "Queued"), 1200, None, "a night"),
    (
        "ArcFaceJobQueued",
        {**waits("Pending", "ClaimMissing", "0x1490 stale"), **waits("Queued", "Queued", "_x1491 0x109")},
        1550,
        None,
        "a day for a claim, and an hour for room",
    ),
    (
        "ArcFaceJobQueued",
        {**waits("Pending", "ClaimMissing", "0x9 stale"), **waits("Queued", "Queued", "_x10 0x1600")},
        1500,
        OF_JOBS | {"reason": "Queued"},
        "a moment for its pods, and a day for room",
    ),
    (
        "ArcFaceJobQueued",
        {**waits("Queued", "Queued", "0x6000"), **waits("Pending", "ClaimMissing", DISTURBED)},
        5760,
        OF_JOBS | {"reason": "Queued"},
        "four days for room, and each 20 hours a moment for its claim",
    ),
    (
        "ArcFaceJobQueued",
        {**waits("Queued", "Queued", "0x1600"), **waits("Queued", "Unavailable", "0 _x14 " * 100)},
        1500,
        OF_JOBS | {"reason": "Queued"},
        "a day for room from an API server that fails now and then",
    ),
    (
        "ArcFaceJobQueued",
        {**waits("Pending", "ClaimMissing", "0x120 stale"), **waits("Queued", "Queued", "_x121 0x1600")},
        1500,
        None,
        "two hours of the day for its claim",
    ),
    (
        "ArcFaceJobQueued",
        {**waits("Pending", "ClaimMissing", "0x120 stale"), **waits("Queued", "Queued", "_x121 0x1600")},
        1580,
        OF_JOBS | {"reason": "Queued"},
        "hours for its claim, and then a day for room",
    ),
    ("ArcFaceJobRestartsForEver", restarts("0+1x60"), 60, OF_JOBS, "each minute"),
    ("ArcFaceJobRestartsForEver", restarts("0x9 5x60"), 60, None, "five in an hour"),
    ("ArcFaceJobRestartsForEver", restarts("40x60"), 60, None, "all of them long ago"),
    (
        "ArcFaceJobRestartsForEver",
        handed_over("arcface_job_restarts_total", "", "0+1x9 stale", "_x11 10+1x60"),
        60,
        OF_JOBS,
        "under two leaders",
    ),
    (
        "ArcFaceJobRestartsForEver",
        handed_over("arcface_job_restarts_total", "", "40x9 stale", "_x11 40x60"),
        60,
        None,
        "another leader begins to count where the last one ended",
    ),
    ("ArcFaceJobUnreadable", job("arcface_job_unreadable", "", "1x30"), 6, OF_JOBS, "written by a newer release"),
    ("ArcFaceJobUnreadable", job("arcface_job_unreadable", "", "0x30"), 6, None, "read"),
    ("ArcFaceRanksNotScraped", in_phase("Training"), 12, OF_JOBS, "no rank is scraped"),
    (
        "ArcFaceRanksNotScraped",
        {**in_phase("Training"), **ranks(WAIT, "0x240")},
        12,
        None,
        "ranks are scraped that compile, and have no step to tell of",
    ),
    (
        "ArcFaceRanksNotScraped",
        {**in_phase("Training"), f'{WAIT}{{namespace="other",arcface_io_job="r100",rank="0"}}': "1x240"},
        12,
        OF_JOBS,
        "ranks of another tenant's job of the same name are",
    ),
    ("ArcFaceRanksNotScraped", in_phase("Succeeded"), 12, None, "has ended"),
    ("ArcFaceOperatorDown", leads("here", "a", "0x30"), 10, {"namespace": "here"}, "none leads"),
    ("ArcFaceOperatorDown", {"up{}": "1x30"}, 10, {}, "none was ever found"),
    (
        "ArcFaceOperatorDown",
        {**leads("here", "a", "1x4 0x30"), **leads("here", "b", "0x6 1x30")},
        10,
        None,
        "another one takes over",
    ),
    (
        "ArcFaceOperatorDown",
        {**leads("here", "a", "1x30"), **leads("there", "b", "0x30")},
        10,
        {"namespace": "there"},
        "none leads in one of two releases",
    ),
    (
        "ArcFaceOperatorDown",
        {**leads("here", "a", "1x60"), **leads("there", "b", "1x9 stale"), **leads("there", "c", "0x9 stale")},
        20,
        {"namespace": "there"},
        "one of two releases has lost all its pods",
    ),
    ("ArcFaceOperatorDown", leads("here", "a", "1x9 stale"), 20, {"namespace": "here"}, "the only release has"),
    (
        "ArcFaceOperatorDown",
        {**leads("here", "a", "1x1600"), **leads("there", "b", "1x9 stale")},
        1500,
        None,
        "a release was uninstalled the day before",
    ),
    (
        "ArcFaceOperatorDoubled",
        {**leads("here", "a", "1x30"), **leads("here", "b", "1x30")},
        5,
        {"namespace": "here"},
        "two replicas lead",
    ),
    (
        "ArcFaceOperatorDoubled",
        {**leads("here", "a", "1x30"), **leads("here", "b", "0x30"), **leads("there", "c", "1x30")},
        5,
        None,
        "each of two releases has its leader",
    ),
    (
        "ArcFaceOperatorDoubled",
        {
            'arcface_operator_is_leader{namespace="here",pod="a",job="one"}': "1x30",
            'arcface_operator_is_leader{namespace="here",pod="a",job="two"}': "1x30",
        },
        5,
        None,
        "one is scraped twice",
    ),
    (
        "ArcFaceOperatorDoubled",
        handed_over("arcface_job_restarts_total", "", "0x30", "0x30"),
        5,
        OF_JOBS,
        "two releases serve one job",
    ),
    (
        "ArcFaceOperatorDoubled",
        handed_over("arcface_job_restarts_total", "", "0x9 stale", "_x10 0x30"),
        14,
        None,
        "one follows the other",
    ),
    ("ArcFaceOperatorFails", {**LOOKS, "arcface_operator_reconcile_errors_total{}": "0+30x60"}, 30, {}, "half fail"),
    ("ArcFaceOperatorFails", {**LOOKS, "arcface_operator_reconcile_errors_total{}": "0+1x60"}, 30, None, "few fail"),
]
