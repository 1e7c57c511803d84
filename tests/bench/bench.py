#!/usr/bin/env python3
"""How fast: cold start from a file beside 'nft -f' of the same rules, and one change to the kernel's commit.

    bench.py --agent build/proxylet [--services 10000] [--endpoints 10] [--runs 3] [--changes 300]

Everything in namespaces of its own. Machines are noisy: compare the columns of one run, not two runs.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "support"), os.path.join(HERE, "..", "judge")]

import lab as labs
import load
import objects as obj
from harness import wait

CIDR = "10.128.0.0/9"


def service(i):
    return dict(load.service(i), kind="Service", apiVersion="v1")


def one(i, count, version=0, first=None):
    """The objects of Service i, as kubectl prints them: without managedFields."""
    items = [service(i), load.endpointslice(i, count, version or i, first)]
    for item in items:
        item["metadata"].pop("managedFields")
    return items


def spread(values, unit="s"):
    values = sorted(values)
    return "%8.3f %s  [%.3f..%.3f]" % (statistics.median(values), unit, values[0], values[-1])


def memory_mb(pid):
    with open("/proc/%d/status" % pid) as f:
        fields = dict(line.split(":", 1) for line in f)
    return int(fields["VmHWM"].split()[0]) / 1024


def cold_start(lab, path):
    """-> (seconds until /healthz says 200, peak RSS in MB)"""
    ns = lab.bare_node()
    began = time.monotonic()
    agent = lab.run(ns, paths=path, clusterCIDR=CIDR).ready(120)
    took = time.monotonic() - began
    peak = memory_mb(agent.pid)
    agent.stop()
    ns.close()
    return took, peak


def nft_load(lab, path):
    """-> (seconds, peak RSS in MB) of nft -f in an empty namespace"""
    ns = lab.bare_node()
    with ns:
        began = time.monotonic()
        p = subprocess.Popen(["nft", "-f", path])
        _, status, usage = os.wait4(p.pid, 0)
        took = time.monotonic() - began
    ns.close()
    if status:
        sys.exit("nft -f failed")
    return took, usage.ru_maxrss / 1024


def bench_cold_start(lab, args):
    items = [obj.node()]
    for i in range(args.services):
        items += one(i, args.endpoints)
    path = lab.put("all.json", *items, folder=lab.folder)
    began = time.monotonic()
    render = lab.command("render", "-f", path, "--node", obj.NODE, "--cluster-cidr", CIDR)
    rendered = time.monotonic() - began
    text = os.path.join(lab.folder, "all.nft")
    with open(text, "w") as f:
        f.write(render.stdout.split("table ip6 ")[0])
    print("one JSON file, %.1f MB; render %.2f s, %.1f MB of rules" % (os.path.getsize(path) / 1e6, rendered, len(render.stdout) / 1e6))
    ours, theirs = [], []
    for _ in range(args.runs):
        ours.append(cold_start(lab, path))
        theirs.append(nft_load(lab, text))
    for name, runs in (("proxylet run, to 200 on /healthz", ours), ("nft -f of the same rules", theirs)):
        print("  %-34s %s   peak RSS %.1f MB" % (name, spread([r[0] for r in runs]), max(r[1] for r in runs)))
    print("  %-34s %8.1f x (median of %d)" % ("nft -f takes", statistics.median(t[0] / o[0] for t, o in zip(theirs, ours)), args.runs))


def bench_changes(lab, args):
    for i in range(args.services):
        lab.put("s%05d.json" % i, *one(i, args.endpoints))
    lab.put("node.json", obj.node())
    ns = lab.bare_node()
    began = time.monotonic()
    agent = lab.run(ns, clusterCIDR=CIDR).ready(120)
    print("a folder of %d files: cold start %.3f s, peak RSS %.1f MB" % (args.services + 1, time.monotonic() - began, memory_mb(agent.pid)))
    with ns:
        commits = load.Commits()
    commits.listen()
    rng, latency = random.Random(7), []
    for k in range(args.changes):
        i, seen = rng.randrange(args.services), len(commits.times)
        name, items = "s%05d.json" % i, one(i, args.endpoints, 2000000 + k, "10.255.%d.%d" % (k >> 8, k & 255))
        hidden = os.path.join(lab.objects, ".new")
        with open(hidden, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "List", "items": items}, f)
        sent = time.monotonic()
        os.rename(hidden, os.path.join(lab.objects, name))
        wait(lambda: len(commits.times) > seen, "the commit of change %d" % k, 10, every=0.0002)
        latency.append(1000 * (commits.times[seen] - sent))
        time.sleep(args.gap)
    print("  one endpoint replaced, rename of the file to commit, %d times:" % args.changes)
    print("  " + "  ".join("%s %.3f ms" % q for q in load.quantiles(latency).items()))
    print("  RSS at the end %.1f MB peak" % memory_mb(agent.pid))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--services", type=int, default=10000)
    ap.add_argument("--endpoints", type=int, default=10)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--changes", type=int, default=300)
    ap.add_argument("--gap", type=float, default=0.01, help="seconds between two changes")
    args = ap.parse_args()
    print("%d Services x %d endpoints, load average %.1f" % (args.services, args.endpoints, os.getloadavg()[0]))
    lab = labs.Lab(os.path.abspath(args.agent))
    try:
        bench_cold_start(lab, args)
        bench_changes(lab, args)
    finally:
        lab.close()


if __name__ == "__main__":
    main()
