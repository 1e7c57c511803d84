#!/usr/bin/env python3
"""How fast, beside the opponents in the same run: "make bench", "make bench-quick".

    bench.py --agent build/proxylet [--quick] [--loads 1000x10,10000x10] [--only rows,datapath,conntrack]
    bench.py --compare OLD.json NEW.json
    bench.py --markdown bench.json

Everything in namespaces of its own, opponents taking turns. Machines are noisy: compare the columns of
one run, not two runs. Method and results: tests/bench/README.md.
"""
import argparse
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "judge")]

import compare
import conntrack
import datapath
import lab as labs
import opponents as op
import readme
import report as reports
import rows
from harness import end_cleanly
from loads import named

FULL = dict(loads="1000x10,10000x10,5000x50,50000x10", runs=3, rest=10.0, changes=300, additions=20, flood=10.0, long_flood=60.0,
            later=60.0, rivals_up_to=10000, rival_changes=10, iptables_up_to=1000, protobuf_loads="10000x10,5000x50",
            flapping_load="1000x10", flapping=4.0, data_services=10000, data_loads="1000x10,5000x50,50000x10", data_seconds=0.5,
            data_rounds=3, entries=1000000)
QUICK = dict(loads="1000x10", runs=1, rest=2.0, changes=50, additions=5, flood=2.0, long_flood=2.0,
             later=0.0, rivals_up_to=1000, rival_changes=3, iptables_up_to=1000, protobuf_loads="1000x10",
             flapping_load="1000x10", flapping=1.0, data_services=300, data_loads="1000x10", data_seconds=0.3,
             data_rounds=1, entries=100000)


def part(lab, report, name, step, *args):
    report.attempt(name, step, lab, report, *args)
    for agent in lab.agents:
        agent.kill()    # of a part that failed


def each_load(lab, report, args):
    for load in named(args.loads):
        part(lab, report, "rows, " + load.key, rows.all_rows, load, args)


PARTS = {"rows": each_load, "datapath": datapath.all_rows, "conntrack": conntrack.all_rows}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent")
    ap.add_argument("--out", help="folder for the results; default: bench beside the agent")
    ap.add_argument("--quick", action="store_true", help="small and short: that it works, not how fast it is")
    ap.add_argument("--only", default=",".join(PARTS), help="parts, of: " + " ".join(PARTS))
    ap.add_argument("--kube-proxy", metavar="PATH", help="the real thing takes part")
    ap.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="flag what became worse by more than 10 %%")
    ap.add_argument("--markdown", metavar="FILE", help="a result as the READMEs show it")
    ap.add_argument("--gap", type=float, default=0.02, help="seconds between two changes, as in load.py")
    for name, value in FULL.items():
        ap.add_argument("--" + name.replace("_", "-"), type=type(value), help="default %s; quick: %s" % (value, QUICK[name]))
    args = ap.parse_args()
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if not (args.compare or args.agent or args.markdown):
        ap.error("--agent, --compare or --markdown")
    if not {*args.only.split(",")} <= {*PARTS}:
        ap.error("parts are: " + " ".join(PARTS))
    return args


def measure(lab, report, args):
    args.variants = [v for v in op.VARIANTS if op.have_iptables(lab, v)]
    for v in op.VARIANTS:
        if v not in args.variants:
            report.note("no iptables-%s here: the program or what it needs of the kernel is missing" % v)
    for name, step in PARTS.items():
        if name in args.only.split(","):
            part(lab, report, name, step, args)


def name_of(args, report):
    """bench.json is always the last whole run: no part and no attempt takes its place."""
    default = QUICK if args.quick else FULL
    if report.faults or args.loads != default["loads"] or {*args.only.split(",")} != {*PARTS}:
        return "bench-partial"
    return "bench-quick" if args.quick else "bench"


def run(args):
    """What was measured is written and printed, also when that ends early. -> exit status"""
    missing = [p for p in ("ip", "nft") if not shutil.which(p)]
    if missing or os.geteuid():
        sys.exit("needed: root, nftables, iproute2")
    agent, began = os.path.abspath(args.agent), time.monotonic()
    report = reports.Report(reports.host(agent, {k: getattr(args, k) for k in ("quick", "only", "gap", *FULL)}))
    end_cleanly()
    lab = labs.Lab(agent)
    try:
        measure(lab, report, args)
    except BaseException as e:
        report.fault("ended early: %s" % (str(e) or type(e).__name__))
        raise
    finally:
        lab.close()
        path = report.write(args.out or os.path.join(os.path.dirname(agent), "bench"), name_of(args, report))
        print("\n%s\n%s" % (report.table(), path), flush=True)
    with open(os.path.splitext(path)[0] + ".md", "w") as f:
        f.write(readme.markdown(report))
    print("%s; %.0f s" % (reports.draw(path), time.monotonic() - began))
    return 1 if report.faults else 0


def read(path):
    try:
        return reports.Report.read(path)
    except (OSError, ValueError, KeyError) as e:
        sys.exit("%s: %s" % (path, e))


def main():
    args = arguments()
    if args.compare:
        sys.exit(1 if compare.compare(*map(read, args.compare)) else 0)
    if args.markdown:
        return print(readme.markdown(read(args.markdown)), end="")
    sys.exit(run(args))


if __name__ == "__main__":
    main()
