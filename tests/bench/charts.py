#!/usr/bin/env python3
"""Draws bench.json: bench-ROW.svg for every row that has opponents. Needs matplotlib.

    charts.py build/bench/bench.json
"""
import json
import os
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

OURS = "proxylet"


def draw(name, row, figures):
    figure, axes = pyplot.subplots(figsize=(9, 0.9 + 0.4 * len(figures)))
    spread = [[f["median"] - f["low"] for f in figures], [f["high"] - f["median"] for f in figures]]
    axes.barh(["%s, %s" % (f["who"], f["load"]) for f in figures], [f["median"] for f in figures], xerr=spread,
              color=["#1f77b4" if f["who"] == OURS else "#aaaaaa" for f in figures])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(figures[0]["unit"] + (" (more is better)" if figures[0]["more_is_better"] else ""))
    axes.set_title(row)
    axes.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig("%s-%s.svg" % (name, "".join(c if c.isalnum() else "-" for c in row.lower())))
    pyplot.close(figure)


def main():
    path, rows = sys.argv[1], {}
    with open(path) as f:
        for figure in json.load(f)["figures"]:
            rows.setdefault(figure["row"], []).append(figure)
    drawn = [row for row, figures in rows.items() if len({f["who"] for f in figures}) > 1]
    for row in drawn:
        draw(os.path.splitext(path)[0], row, rows[row])
    print("%d charts beside it" % len(drawn))


if __name__ == "__main__":
    main()
