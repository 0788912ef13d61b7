"""How ranks that compute on one machine's CPU share its cores."""


def core_share(cores: set[int], shares: int, number: int) -> set[int]:
    """Cores of one of several ranks or pods; all of them where there are fewer cores than shares.

    MindSpore's threads spin while they wait, so ranks that share cores slow each other down far beyond their share.
    """
    if len(cores) < shares:
        return cores
    ordered = sorted(cores)
    return set(ordered[number * len(ordered) // shares : (number + 1) * len(ordered) // shares])
