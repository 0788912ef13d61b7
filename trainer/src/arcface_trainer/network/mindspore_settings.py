"""Settings that MindSpore reads from the environment when it is imported; this module does not import it."""

from collections.abc import Mapping

ERRORS_ONLY = "3"


def compute_environment(environment: Mapping[str, str], accelerator: str) -> dict[str, str]:
    """Settings of a process that computes on this accelerator; what the user has set stays."""
    settings = {"GLOG_v": ERRORS_ONLY}
    if accelerator == "cpu":
        # On AVX-512 hosts oneDNN's choice for MindSpore's layouts is its reference code, 20 to 100 times slower.
        settings["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    return settings | dict(environment)
