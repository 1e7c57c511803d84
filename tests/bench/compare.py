"""A result beside an older one: which of our figures became worse, or are not there any more."""
import statistics

from report import OURS, number

# By: worse than it was, worse beside the same opponents.
VERDICTS = {(True, None): "WORSE", (True, True): "WORSE", (True, False): "WORSE, as the others", (False, True): "WORSE beside the others"}


def worse_by(was, f):
    """A part of what it was. Where that is nothing, anything above the goal is without end."""
    if was.median <= 0:
        return float("inf") if f.median > (f.goal or 0) and not f.more else 0.0
    return (f.median / was.median - 1) * (-1 if f.more else 1)


def ratios(then, now, f):
    """How many times worse the others are, on the geometric mean of those that both runs have. -> then, now; or None"""
    found = [(then.ratio(was), now.ratio(x)) for x in now.beside(f) for was in [then.find(x.row, x.load, x.who)] if was]
    found = [r for r in found if all(r)]
    return [statistics.geometric_mean(r) for r in zip(*found)] or None


def judge(then, now, was, f, limit):
    """-> what is to be printed of a row that both runs have, and the verdict"""
    change, ratio = worse_by(was, f), ratios(then, now, f)
    verdict = VERDICTS.get((change > limit, ratio and ratio[0] / ratio[1] - 1 > limit), "")
    if change > limit and f.low <= was.high and f.high >= was.low:
        verdict += " (within the spread)"
    return (number(was.median), number(f.median), "%+.0f %%" % (100 * change), "%.1f / %.1f" % tuple(ratio) if ratio else ""), verdict


def other_options(then, now):
    """-> lines about what was not done in the same way"""
    a, b = then.host.get("options"), now.host.get("options")
    if a is None or b is None:
        return ["a file does not say with which options it was made"]
    return ["not the same: %s, %s then, %s now" % (k, a.get(k), b.get(k)) for k in sorted({*a, *b}) if a.get(k) != b.get(k)]


def compare(then, now, limit=0.10):
    """Prints ours of both. -> how many are worse by more than the limit, or missing"""
    form = "%-44s %-11s %9s %9s %9s %17s  %s"
    print((form % ("row", "load", "then", "now", "worse by", "ratio then / now", "")).rstrip())
    worse = missing = 0
    for key in dict.fromkeys(then.keys() + now.keys()):
        was, f = then.find(*key), now.find(*key)
        if was and f:
            cells, verdict = judge(then, now, was, f, limit)
            worse += bool(verdict)
        elif was:
            cells, verdict, missing = (number(was.median), "", "", ""), "MISSING", missing + 1
        elif f:
            cells, verdict = ("", number(f.median), "", ""), "new"
        else:
            continue
        print((form % (*key, *cells, verdict)).rstrip())
    gone = sorted({f.who for f in then.figures} - {f.who for f in now.figures} - {OURS})
    print("\n".join(other_options(then, now) + ["no longer beside us: " + who for who in gone] + ["failed now: " + x for x in now.faults]
                    + ["then: " + then.about(), "now:  " + now.about()]))
    print("%d worse by more than %d %%, %d missing" % (worse, 100 * limit, missing))
    return worse + missing
