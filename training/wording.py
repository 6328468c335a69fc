"""Figures as a reader sees them: their names, and numbers of which none that is not 0 or 1 is told as that."""

from model.artifact import Interval

# What lies nearer to 0 or 1 is the end of an interval, or of more tiles than anybody has.
MOST_DECIMALS = 6
# The one figure that is no share.
COST = "cost_per_tile"


def figure(value: float, name: str = "") -> str:
    """A figure with three decimals; a share with as many more, up to six, as it takes to be neither 0 nor 1.

    name: its key; a cost, whose unit may be anything, has four digits that count.

    >>> [figure(value) for value in (0.25, 0.00042, 0.99996, 0.0, 1.0, 2e-16)]
    ['0.250', '0.0004', '0.99996', '0.000', '1.000', '0.000']
    >>> figure(0.00123456, "cost_per_tile"), figure(1234.56, "cost_per_tile")
    ('0.001235', '1235')
    """
    if name == COST:
        return f"{value:.4g}"
    near, decimals = round(value, MOST_DECIMALS), 3
    while 0 < near < 1 and float(f"{near:.{decimals}f}") in {0.0, 1.0}:
        decimals += 1
    return f"{value:.{decimals}f}"


def probability(value: float) -> str:
    """A threshold, to be set elsewhere: four digits that count near 0, and near 1 what keeps it from 1.

    >>> [probability(value) for value in (0.11986, 0.0000031416, 0.9999982, 1.0)]
    ['0.1199', '3.142e-06', '0.999998', '1.0000']
    """
    if value < 0.5:
        return f"{value:.4g}"
    decimals = 4
    while value < 1 and float(f"{value:.{decimals}f}") == 1:
        decimals += 1
    return f"{value:.{decimals}f}"


def percent(share: float) -> str:
    """Three digits that count, and as many more, up to six, as keep a share below 1 from being told as 100 %.

    >>> [percent(share) for share in (0.0123456, 0.99, 0.99995, 1.0, 1 - 2e-16, 2e-16)]
    ['1.23 %', '99 %', '99.995 %', '100 %', '100 %', '0 %']
    """
    near, digits = 100 * round(share, MOST_DECIMALS), 3
    while near < 100 and float(f"{near:.{digits}g}") == 100:
        digits += 1
    return f"{near:.{digits}g} %"


def percent_of(share: Interval) -> str:
    """A share with its interval, if it has one.

    >>> percent_of(Interval(value=0.0123, low=0.004, high=0.0299)), percent_of(Interval(value=0.5))
    ('1.23 % (0.4 % to 2.99 %)', '50 %')
    """
    if share.low is None or share.high is None:
        return percent(share.value)
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def words(name: str) -> str:
    """A figure's key as a reader sees it.

    >>> words("recall_at_5pct_false_calls"), words("auroc")
    ('recall at 5 % false calls', 'AUROC')
    """
    return "AUROC" if name == "auroc" else name.replace("pct", " %").replace("_", " ")
