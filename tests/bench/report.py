"""What was measured: collected by row, printed as one table, written as JSON; and compared with an older file."""
import json
import os
import statistics
import subprocess
import sys
import time


class Figure:
    """One row's values for one opponent and one load; the smaller the better unless told."""

    def __init__(self, row, load, who, unit, values, goal=None, more_is_better=False):
        self.row, self.load, self.who, self.unit, self.values, self.goal, self.more = row, load, who, unit, sorted(values), goal, more_is_better

    @property
    def median(self):
        return statistics.median(self.values)

    def json(self):
        return {"row": self.row, "load": self.load, "who": self.who, "unit": self.unit, "values": self.values, "median": self.median,
                "low": self.values[0], "high": self.values[-1], "goal": self.goal, "more_is_better": self.more}


OURS = "proxylet"


def number(x):
    return "%.0f" % x if abs(x) >= 1000 else "%.4g" % x


class Report:
    def __init__(self):
        self.figures, self.notes = [], []
        self.host = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": os.uname().release, "processors": os.cpu_count(),
                     "load_average": [round(x, 2) for x in os.getloadavg()]}

    def add(self, row, load, who, unit, values, goal=None, more_is_better=False):
        values = values if isinstance(values, (list, tuple)) else [values]
        if not values:
            return self.note("%s, %s, %s: nothing was measured" % (row, load, who))
        f = Figure(row, load, who, unit, values, goal, more_is_better)
        self.figures.append(f)

    def note(self, text):
        self.notes.append(text)
        print("  note: " + text, flush=True)

    def ours(self, f):
        return next((x for x in self.figures if (x.row, x.load, x.who) == (f.row, f.load, OURS)), None)

    def line(self, f):
        base, ratio = self.ours(f), ""
        if base and base is not f and base.median and f.median:
            ratio = "%.1fx" % (base.median / f.median if f.more else f.median / base.median)
        verdict = ""
        if f.goal is not None:
            kept = f.median >= f.goal if f.more else f.median <= f.goal
            verdict = "goal %s: %s" % (number(f.goal), "kept" if kept else "MISSED")
        spread = "[%s..%s]" % (number(f.values[0]), number(f.values[-1])) if len(f.values) > 1 else ""
        return "%-44s %-11s %-34s %9s %-6s %-19s %8s  %s" % (f.row, f.load, f.who, number(f.median), f.unit, spread, ratio, verdict)

    def table(self):
        """One line a figure; ratio: how many times worse than ours it is in this run."""
        lines = ["%-44s %-11s %-34s %9s %-6s %-19s %8s" % ("row", "load", "who", "median", "unit", "spread", "ratio")]
        seen = []
        for f in self.figures:
            if (f.row, f.load) not in seen:
                seen.append((f.row, f.load))
        for key in seen:
            lines += [self.line(f) for f in self.figures if (f.row, f.load) == key]
        lines.append("load average %s before, %s after; %d processors, Linux %s" % (
            self.host["load_average"][0], round(os.getloadavg()[0], 2), self.host["processors"], self.host["kernel"]))
        return "\n".join(lines + ["note: " + n for n in self.notes])

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.host["load_average_after"] = [round(x, 2) for x in os.getloadavg()]
        with open(os.path.join(folder, "bench.json"), "w") as f:
            json.dump({"host": self.host, "notes": self.notes, "figures": [x.json() for x in self.figures]}, f, indent=1)
        with open(os.path.join(folder, "bench.txt"), "w") as f:
            f.write(self.table() + "\n")
        return os.path.join(folder, "bench.json")


def draw(path):
    """Charts of bench.json, by whichever interpreter has matplotlib. -> what there is to say"""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "charts.py")
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        p = subprocess.run([python, "-B", script, path], capture_output=True, text=True)
        if p.returncode == 0:
            return p.stdout.strip()
    return "no charts: is python3-matplotlib installed?"


def compare(old_path, new_path, limit=0.10):
    """Prints what of ours is worse than in the older file by more than the limit. -> how many rows"""
    with open(old_path) as f, open(new_path) as g:
        old, new = json.load(f), json.load(g)
    before = {(x["row"], x["load"], x["who"]): x for x in old["figures"]}
    worse = 0
    print("%-44s %-11s %9s %9s  change" % ("row", "load", "old", "new"))
    for x in new["figures"]:
        was = before.get((x["row"], x["load"], x["who"]))
        if x["who"] != OURS or not was or not was["median"] or not x["median"]:
            continue
        change = was["median"] / x["median"] - 1 if x["more_is_better"] else x["median"] / was["median"] - 1
        apart = x["low"] > was["high"] if not x["more_is_better"] else x["high"] < was["low"]
        flag = ""
        if change > limit:
            worse += 1
            flag = "WORSE" if apart else "WORSE (within the spread)"
        print("%-44s %-11s %9s %9s  %+.0f %% %s" % (x["row"], x["load"], number(was["median"]), number(x["median"]), 100 * change, flag))
    print("%d worse by more than %d %%; load average then %s, now %s" % (
        worse, 100 * limit, old["host"]["load_average"][0], new["host"]["load_average"][0]))
    return worse
