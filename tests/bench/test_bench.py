#!/usr/bin/env python3
"""What the benchmarks make of their figures: reports, files, tables and comparisons. Without root, a part of "make check-unit"."""
import argparse
import contextlib
import io
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "judge")]

import bench
import compare
import readme
import report as reports
from harness import check, equal
from others import COLD_FILE, PEAK, SHAPE
from report import OURS
from rows import COLD

LOAD, NFT = "10000 x 10", "nft -f, " + SHAPE
OPTIONS = {"runs": 3}
HOST = dict(reports.host("true", OPTIONS), load_average_after=[0, 0, 0])


def made(*figures, **options):
    """A report of (row, who, values, goal, more is better), of which the last two may be left out."""
    r = reports.Report(dict(HOST, options={**OPTIONS, **options}))
    for row, who, values, *rest in figures:
        r.add(row, LOAD, who, "s", values, *rest)
    return r


def compared(then, now):
    """-> (how many are worse or missing, what was said of each row, everything that was said)"""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        count = compare.compare(then, now)
    return count, {line[:44].strip(): line for line in out.getvalue().splitlines()}, out.getvalue()


def test_the_same_is_no_worse():
    r = made((COLD, OURS, [1, 2, 3]), ("memory", OURS, 0))
    equal(compared(r, r)[0], 0, "worse")


def test_what_is_gone_is_missing():
    then = made((COLD, OURS, 1), (PEAK, OURS, 10), (PEAK, NFT, 100))
    count, rows, text = compared(then, made((COLD, OURS, 1)))
    equal((count, rows[PEAK].endswith("MISSING")), (1, True), "a row that is gone")
    check("no longer beside us: " + NFT in text, "an opponent that is gone: %s", text)
    equal(compared(then, made())[0], 2, "an empty file")


def test_from_nothing():
    then = made(("memory", OURS, 0, 1.0))
    equal(compared(then, made(("memory", OURS, 500, 1.0)))[0], 1, "0 to 500 MB")
    equal(compared(then, made(("memory", OURS, 0.4, 1.0)))[0], 0, "0 to 0.4 MB, which the goal allows")


def test_more_is_better():
    then = made(("rate", OURS, 1000, None, True))
    for now, worse in ((905, 0), (890, 1), (0, 1), (2000, 0)):
        equal(compared(then, made(("rate", OURS, now, None, True)))[0], worse, "worse at %d" % now)


def test_beside_the_others():
    then = made((COLD_FILE, OURS, 1), (COLD_FILE, NFT, 30))
    for ours, nft, said in ((1, 20, "WORSE beside the others"), (1.5, 45, "WORSE, as the others"), (1.5, 30, "WORSE"), (0.5, 15, "")):
        row = compared(then, made((COLD_FILE, OURS, ours), (COLD_FILE, NFT, nft)))[1][COLD_FILE]
        equal(row.partition("30.0 / %.1f" % (nft / ours))[2].strip(), said, "verdict")


def test_other_options_are_told():
    text = compared(made((COLD, OURS, 1)), made((COLD, OURS, 1), runs=1))[2]
    check("not the same: runs, 3 then, 1 now" in text, text)


def test_files():
    r = made((COLD, OURS, [1, 3, 2], 5), (COLD, NFT, 4))
    r.fault("something failed")
    with tempfile.TemporaryDirectory() as folder:
        again = reports.Report.read(r.write(folder, "bench"))
    equal(again.table(), r.table(), "the table of what was written")
    equal((again.faults, again.host), (r.faults, r.host), "faults and host")
    equal(again.host["options"], OPTIONS, "options")


def test_one_that_fails():
    r = made()
    with contextlib.redirect_stderr(io.StringIO()):
        got = [r.attempt("opponent", step) for step in (lambda: 1, lambda: open("/nowhere"), lambda: 3)]
    equal((got, len(r.faults)), ([1, None, 3], 1), "the others are measured")


def test_a_part_has_another_name():
    def name(report, **changed):
        return bench.name_of(argparse.Namespace(**{"quick": False, "only": "rows,datapath,conntrack", **bench.FULL, **changed}), report)

    broken = made()
    broken.fault("broken")
    equal([name(made()), name(made(), only="rows"), name(made(), loads=LOAD), name(broken), name(made(), **bench.QUICK, quick=True)],
          ["bench", "bench-partial", "bench-partial", "bench-partial", "bench-quick"], "names")


def test_readme():
    text = readme.markdown(made((COLD, OURS, 0.5, 1), (COLD_FILE, OURS, 0.64), (COLD_FILE, NFT, 19.5), (PEAK, OURS, [70, 72, 71], 60)))
    for line in ("| %s | 0.5 s |  |" % COLD, "| %s | 0.64 s | 19.5 s |" % COLD_FILE, "| %s | %s | 0.64 s |  | %s 19.5 s, 30.5 x |" % (COLD_FILE, LOAD, NFT),
                 "| %s | %s | **71 s** (70 to 72) | 60 |  |" % (PEAK, LOAD)):
        check(line in text, "no %s in\n%s", line, text)


def test_why_there_are_no_charts():
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "charts.py"), "w") as f:
            f.write("raise ValueError('of this')\n")
        here, reports.HERE = reports.HERE, folder
        said = reports.draw("bench.json")
        reports.HERE = here
    check(said.startswith("no charts: ") and said.endswith("ValueError: of this"), said)


def main():
    failed = 0
    tests = [(name[5:], f) for name, f in globals().items() if name.startswith("test_")]
    for name, test in tests:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                test()
            print("ok   " + name)
        except Exception as e:
            failed += 1
            print("FAIL %s: %s: %s" % (name, type(e).__name__, e))
    print("%d passed, %d failed, 0 skipped" % (len(tests) - failed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
