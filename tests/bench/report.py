"""What was measured: collected by row, printed as one table, written as JSON and read again."""
import json
import os
import statistics
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "proxylet"


class Figure:
    """One row's values for one opponent and one load; the smaller the better unless told."""

    def __init__(self, row, load, who, unit, values, goal=None, more_is_better=False):
        self.row, self.load, self.who, self.unit, self.values, self.goal, self.more = row, load, who, unit, sorted(values), goal, more_is_better
        self.median, self.low, self.high = statistics.median(values), self.values[0], self.values[-1]

    @classmethod
    def of(cls, x):
        return cls(x["row"], x["load"], x["who"], x["unit"], x["values"], x["goal"], x["more_is_better"])

    def json(self):
        return {"row": self.row, "load": self.load, "who": self.who, "unit": self.unit, "values": self.values, "median": self.median,
                "low": self.low, "high": self.high, "goal": self.goal, "more_is_better": self.more}

    def missed(self):
        return self.goal is not None and (self.median < self.goal if self.more else self.median > self.goal)


def number(x):
    return "%.0f" % x if abs(x) >= 1000 else "%.4g" % x


def says(*argv):
    """-> the first line of what a program says, or None"""
    try:
        p = subprocess.run(argv, capture_output=True, text=True)
    except OSError:
        return None
    return p.stdout.splitlines()[0] if p.stdout and not p.returncode else None


def host(agent, options):
    """Where and how it is measured, and of what."""
    return {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": os.uname().release, "processors": os.cpu_count(),
            "load_average": load_average(), "options": options, "versions": {
                "proxylet": says(agent, "--version"), "nft": says("nft", "--version"), "iptables": says("iptables", "--version"),
                "commit": says("git", "-c", "safe.directory=*", "-C", HERE, "describe", "--always", "--dirty")}}


def load_average():
    return [round(x, 2) for x in os.getloadavg()]


class Report:
    """faults: what could not be measured; notes: the faults, and what else there is to say."""

    def __init__(self, about):
        self.figures, self.notes, self.faults, self.host = [], [], [], about

    @classmethod
    def read(cls, path):
        with open(path) as f:
            found = json.load(f)
        report = cls(found["host"])
        report.notes, report.faults = found["notes"], found.get("faults", [])
        report.figures = [Figure.of(x) for x in found["figures"]]
        return report

    def add(self, row, load, who, unit, values, goal=None, more_is_better=False):
        values = values if isinstance(values, (list, tuple)) else [values]
        if not values:
            return self.note("%s, %s, %s: nothing was measured" % (row, load, who))
        self.figures.append(Figure(row, load, who, unit, values, goal, more_is_better))

    def note(self, text):
        self.notes.append(text)
        print("  note: " + text, flush=True)

    def fault(self, text):
        self.faults.append(text)
        self.note(text)

    def attempt(self, what, step, *args):
        """step(*args). If it fails that is told, and the rest is measured all the same. -> what it returns, or None"""
        try:
            return step(*args)
        except Exception as e:
            traceback.print_exc(limit=-4)
            self.fault("%s: %s" % (what, str(e) or type(e).__name__))

    def find(self, row, load, who=OURS):
        return next((f for f in self.figures if (f.row, f.load, f.who) == (row, load, who)), None)

    def beside(self, f):
        """The others of the same row and load."""
        return [x for x in self.figures if (x.row, x.load) == (f.row, f.load) and x.who != OURS]

    def ratio(self, f):
        """How many times worse than ours it is in this run, or None."""
        base = self.find(f.row, f.load)
        if not base or base is f or not base.median or not f.median:
            return None
        return base.median / f.median if f.more else f.median / base.median

    def line(self, f):
        ratio = self.ratio(f)
        verdict = "" if f.goal is None else "goal %s: %s" % (number(f.goal), "MISSED" if f.missed() else "kept")
        spread = "[%s..%s]" % (number(f.low), number(f.high)) if len(f.values) > 1 else ""
        return "%-44s %-11s %-34s %9s %-6s %-19s %8s  %s" % (f.row, f.load, f.who, number(f.median), f.unit, spread,
                                                              "%.1fx" % ratio if ratio else "", verdict)

    def about(self):
        """One sentence of the host."""
        h = self.host
        versions = ["commit " + v if k == "commit" else v for k, v in h.get("versions", {}).items() if v]
        return ", ".join(["load average %s before, %s after" % (h["load_average"][0], h["load_average_after"][0]),
                          "%d processors" % h["processors"], "Linux " + h["kernel"], *versions])

    def keys(self):
        """Each row and load once, in the order in which they came."""
        return list(dict.fromkeys((f.row, f.load) for f in self.figures))

    def table(self):
        """One line a figure; ratio: how many times worse than ours it is in this run."""
        lines = ["%-44s %-11s %-34s %9s %-6s %-19s %8s" % ("row", "load", "who", "median", "unit", "spread", "ratio")]
        for key in self.keys():
            lines += [self.line(f) for f in self.figures if (f.row, f.load) == key]
        return "\n".join(lines + [self.about()] + ["note: " + n for n in self.notes])

    def write(self, folder, name):
        """NAME.json and NAME.txt. -> path of the first"""
        os.makedirs(folder, exist_ok=True)
        self.host["load_average_after"] = load_average()
        path = os.path.join(folder, name)
        with open(path + ".json", "w") as f:
            json.dump({"host": self.host, "notes": self.notes, "faults": self.faults,
                       "figures": [dict(x.json(), ratio=self.ratio(x)) for x in self.figures]}, f, indent=1)
        with open(path + ".txt", "w") as f:
            f.write(self.table() + "\n")
        return path + ".json"


def draw(path):
    """Charts of a JSON file, by whichever interpreter has matplotlib. -> what there is to say"""
    why = []
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        try:
            p = subprocess.run([python, "-B", os.path.join(HERE, "charts.py"), path], capture_output=True, text=True)
        except OSError as e:
            why.append(str(e))
            continue
        if p.returncode == 0:
            return p.stdout.strip()
        why.append("%s: %s" % (python, (p.stderr.strip() or "exit %d" % p.returncode).splitlines()[-1]))
    return "no charts: " + "; ".join(why)
