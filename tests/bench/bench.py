#!/usr/bin/env python3
"""How fast, beside the opponents in the same run: "make bench", "make bench-quick".

    bench.py --agent build/proxylet [--quick] [--loads 1000x10,10000x10] [--only rows,datapath,conntrack]
    bench.py --compare OLD.json NEW.json

Everything in namespaces of its own, opponents taking turns. Machines are noisy: compare the columns of
one run, not two runs. Method and results: tests/bench/README.md.
"""
import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "judge")]

import conntrack
import datapath
import lab as labs
import report as reports
import rows
from harness import end_cleanly
from loads import Load

FULL = dict(loads="1000x10,10000x10,5000x50,50000x10", runs=3, rest=10.0, changes=300, additions=20, flood=10.0, long_flood=60.0,
            rivals_up_to=10000, rival_changes=10, iptables_up_to=1000, data_services=10000, data_seconds=1.0, data_rounds=3,
            entries=1000000)
QUICK = dict(loads="1000x10", runs=1, rest=2.0, changes=50, additions=5, flood=2.0, long_flood=2.0,
             rivals_up_to=1000, rival_changes=3, iptables_up_to=1000, data_services=300, data_seconds=0.3, data_rounds=1,
             entries=100000)


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent")
    ap.add_argument("--out", help="folder for the results; default: bench beside the agent")
    ap.add_argument("--quick", action="store_true", help="small and short: that it works, not how fast it is")
    ap.add_argument("--only", default="rows,datapath,conntrack", help="parts, of: rows datapath conntrack")
    ap.add_argument("--kube-proxy", metavar="PATH", help="the real thing takes part")
    ap.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="flag what became worse by more than 10 %%")
    ap.add_argument("--gap", type=float, default=0.01, help="seconds between two changes")
    for name, value in FULL.items():
        ap.add_argument("--" + name.replace("_", "-"), type=type(value), help="default %s; quick: %s" % (value, QUICK[name]))
    args = ap.parse_args()
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if not args.compare and not args.agent:
        ap.error("--agent or --compare")
    return args


def measure(lab, report, args):
    parts = args.only.split(",")
    if "rows" in parts:
        for name in args.loads.split(","):
            rows.all_rows(lab, report, Load(*map(int, name.split("x"))), args)
    if "datapath" in parts:
        datapath.all_rows(lab, report, args)
    if "conntrack" in parts:
        conntrack.all_rows(lab, report, args)


def main():
    args = arguments()
    if args.compare:
        sys.exit(1 if reports.compare(*args.compare) else 0)
    agent = os.path.abspath(args.agent)
    out = args.out or os.path.join(os.path.dirname(agent), "bench")
    report, began = reports.Report(), time.monotonic()
    end_cleanly()
    lab = labs.Lab(agent)
    try:
        measure(lab, report, args)
    finally:
        lab.close()
        path = report.write(out)
    print("\n%s\n%s; %s; %.0f s" % (report.table(), path, reports.draw(path), time.monotonic() - began))


if __name__ == "__main__":
    main()
