"""How sure counts are, and quantiles: pure, and all the statistics that the soak has.

Not scipy, whose 140 MB every `make demo` would have to install for the one function that is here.
"""

import math
from collections import Counter

CONFIDENCE = 0.95


def at_most(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The greatest share of events that so many in so many independent trials still leave possible.

    It is the exact one-sided upper bound: with any greater share there would have been more events than these, with a
    probability of at least `confidence` (Clopper and Pearson, Biometrika 26, 1934, pages 404 to 413). Without any event
    and with 0.95 it is some 3 / trials, the "rule of three" (Hanley and Lippman-Hand, JAMA 249, 1983, pages 1743 to
    1745). Without any trial it is 1: nothing is known. Raises ValueError where there are more events than trials.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials")
    if events == trials:
        return 1.0
    low, high = events / trials, 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if _so_few(events, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _so_few(events: int, trials: int, share: float) -> float:
    """How probable it is that there are no more than so many events: the binomial distribution.

    By logarithms, as the factorials of a million do not fit into a float.
    """
    if share == 1.0:
        return 0.0
    odds, none = math.log(share / (1 - share)), trials * math.log1p(-share)
    ways = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(ways - math.lgamma(each + 1) - math.lgamma(trials - each + 1) + each * odds + none)
        for each in range(events + 1)
    )


def quantile(counts: Counter[float], share: float) -> float | None:
    """The least of the values which at least this share of all do not exceed (nearest rank); None where there are none.

    counts: how often each value was measured; share: from 0, the least of all, to 1
    """
    # what counts is not a last digit: 0.07 * 100 is more than 7
    wanted = math.ceil(round(share * counts.total(), 6))
    for value in sorted(counts):
        wanted -= counts[value]
        if wanted <= 0:
            return value
    return None
