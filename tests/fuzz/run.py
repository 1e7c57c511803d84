#!/usr/bin/env python3
"""Run fuzz targets, one after the other, and count them.

    run.py --work DIR [--runs N] [--seconds N] PROGRAM...     one line for each; a finding fails
    run.py --work DIR --merge PROGRAM...                      what was found interesting goes to the corpora

PROGRAM is .../fuzz_NAME; its inputs are in tests/fuzz/corpus/NAME. New inputs that reach new code are
kept in DIR/found/NAME, so that the next run goes on from there; a finding is kept in DIR/findings.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

CORPORA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
MAX_LEN = {"conntrack": 4096, "held": 8192, "list": 16384, "list_pb": 16384, "objects": 16384, "request": 9000, "watch": 16384,
           "watch_pb": 16384}
MAX_CORPUS = 64 * 1024
# The agent's parsers hold one object at a time: nothing of a few KB may take this long or this much.
LIMITS = ["-timeout=30", "-rss_limit_mb=1500"]


class Target:
    def __init__(self, program, work):
        self.program = program
        self.name = os.path.basename(program)[len("fuzz_"):]
        self.corpus = os.path.join(CORPORA, self.name)
        self.found = os.path.join(work, "found", self.name)
        self.findings = os.path.join(work, "findings", "")
        for folder in (self.found, self.findings):
            os.makedirs(folder, exist_ok=True)

    def call(self, *flags):
        argv = [self.program, "-max_len=%d" % MAX_LEN.get(self.name, 4096), "-artifact_prefix=" + self.findings]
        # Where memory was allocated is noted for each piece of it, which is half the time of what parses trees.
        env = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1", ASAN_OPTIONS="malloc_context_size=4")
        return subprocess.run(argv + LIMITS + list(flags), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, errors="replace", env=env)

    def run(self, runs, seconds):
        """True: no finding."""
        began = time.monotonic()
        p = self.call("-runs=%d" % runs, "-max_total_time=%d" % seconds, "-print_final_stats=1", self.found, self.corpus)
        took = time.monotonic() - began
        n = int(first(r"number_of_executed_units: +(\d+)", p.stderr))
        known, now = features(p.stderr)
        print("%-4s %-12s %9d runs %8d/s %6d features, %d new" %
              ("FAIL" if p.returncode else "ok", self.name, n, n / max(took, 0.001), now, now - known), flush=True)
        if p.returncode:
            print("\n".join(p.stderr.splitlines()[-60:]), flush=True)
        return p.returncode == 0

    def merge(self):
        """What reaches more than the corpus does joins it, the smallest first, as long as it stays small."""
        with tempfile.TemporaryDirectory() as new:
            shutil.copytree(self.corpus, new, dirs_exist_ok=True)
            p = self.call("-merge=1", new, self.found)
            if p.returncode:
                sys.exit(p.stderr)
            total = sum(e.stat().st_size for e in os.scandir(self.corpus))
            for entry in sorted(os.scandir(new), key=lambda e: e.stat().st_size):
                kept = os.path.join(self.corpus, entry.name)
                if not os.path.exists(kept) and total + entry.stat().st_size <= MAX_CORPUS:
                    shutil.copyfile(entry.path, kept)
                    total += entry.stat().st_size
        print("%-12s %5d inputs, %d bytes" % (self.name, len(os.listdir(self.corpus)), total), flush=True)


def first(pattern, text):
    match = re.search(pattern, text)
    return match.group(1) if match else 0


def features(text):
    """Of the stored inputs, and in the end."""
    known = first(r"INITED.* ft: (\d+)", text)
    return int(known), int((re.findall(r" ft: (\d+)", text) or [known])[-1])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True)
    ap.add_argument("--runs", type=int, default=-1, help="-1: no limit")
    ap.add_argument("--seconds", type=int, default=60, help="for each; 0: no limit")
    ap.add_argument("--merge", action="store_true")
    ap.add_argument("program", nargs="+")
    args = ap.parse_args()
    targets = [Target(p, args.work) for p in args.program]
    if args.merge:
        for t in targets:
            t.merge()
        return 0
    good = sum(t.run(args.runs, args.seconds) for t in targets)
    print("%d passed, %d failed, 0 skipped" % (good, len(targets) - good))
    return 0 if good == len(targets) else 1


if __name__ == "__main__":
    sys.exit(main())
