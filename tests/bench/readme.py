"""A result as the two READMEs show it: Markdown."""
from others import COLD_FILE, PEAK, SHAPE
from report import OURS
from rows import COLD, ONE

# The table of the README at the top: one load, few rows, and of the opponents those that were there.
HEADLINE, SIZE, AGAINST = (COLD, COLD_FILE, ONE, PEAK), "10000 x 10", ("nft -f, " + SHAPE, "kube-proxy")


def number(x):
    return "{:,.0f}".format(x) if abs(x) >= 100 else "%.3g" % x


def value(f):
    return "%s %s" % (number(f.median), f.unit) if f else ""


def row(*cells):
    return "| %s |" % " | ".join(cells)


def table(*rows):
    return [row(*rows[0]), "|" + "---|" * len(rows[0])] + [row(*r) for r in rows[1:]]


def headline(report):
    who = [w for w in (OURS, *AGAINST) if any(report.find(r, SIZE, w) for r in HEADLINE)]
    return who and table([SIZE, *who], *([r, *(value(report.find(r, SIZE, w)) for w in who)] for r in HEADLINE))


def ours(f):
    text = "**%s**" % value(f) if f.missed() else value(f)
    spread = number(f.low), number(f.high)
    return text + (" (%s to %s)" % spread if spread[0] != spread[1] else "")


def others(report, f):
    ratio = report.ratio
    return "; ".join("%s %s%s" % (x.who, value(x), ", %.1f x" % ratio(x) if ratio(x) else "") for x in report.beside(f))


def results(report):
    """All rows, each with its loads together; what misses its goal is bold."""
    lines, above = [], None
    for name in dict.fromkeys(r for r, _ in report.keys()):
        for f in [f for f in report.figures if (f.row, f.who) == (name, OURS)]:
            lines.append(["" if name == above else name, f.load, ours(f), "" if f.goal is None else number(f.goal), others(report, f)])
            above = name
    return table(["figure", "load", OURS, "goal", "others in the same run, and how many times worse"], *lines)


def markdown(report):
    return "\n".join([*headline(report), "", report.about(), "", *results(report)]) + "\n"
