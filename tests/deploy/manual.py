"""What proxylet(8) has to have. Every function returns a list of problems."""
import re


def _text(mdoc):
    """Names as they are typed: mdoc has flags without their first dash, and \\- for a dash."""
    return mdoc.replace("\\-", "-")


def flags(mdoc, usage):
    """The flags of a command's --help that the manual does not have."""
    long = re.findall(r"^ +(?:-\w, |    )--([a-z-]+)", usage, re.M)
    known = set(re.findall(r"Fl -([a-z-]+)", _text(mdoc)))
    return ["no flags in %r" % usage] * (not long) + ["--%s is not in the manual" % f for f in long if f not in known]


def commands(mdoc, usage):
    """Those of proxylet --help, in the same order in the synopsis."""
    there = re.findall(r"^  ([a-z-]+) ", usage, re.M)
    synopsis = mdoc.partition(".Sh SYNOPSIS\n")[2].partition(".Sh ")[0]
    said = re.findall(r"^\.Nm\n\.Cm ([a-z-]+)$", synopsis, re.M)
    return [] if said == there else ["the synopsis has %s, the program %s" % (said, there)]


def metrics(mdoc, names):
    """Ours have an item each, and no other has."""
    items = [name for line in re.findall(r"^\.It Li .*$", mdoc, re.M) for name in re.findall(r"\bproxylet_\w+", line)]
    return (["%s is not in the manual" % n for n in sorted(names) if n not in items] +
            ["%s: the agent has no such metric" % n for n in items if n not in names] +
            ["%s is there more than once" % n for n in sorted(set(items)) if items.count(n) > 1])


def once(mdoc):
    """No paragraph twice: no sentence of some length either."""
    lines = [line for line in mdoc.splitlines() if not line.startswith(".") and len(line) > 60]
    return ["twice: " + line for line in sorted(set(lines)) if lines.count(line) > 1]
