#!/usr/bin/env python3
"""Run the programs of one part of "make check" and count what they did.

    tally.py --results DIR --part unit [--as sudo] [--under "valgrind ..."] 'PROGRAM ARG...'...
    tally.py --results DIR --sum unit net ...

A program says how it went in one of two ways; the last such line counts:
    100%: Checks: 12, Failures: 0, Errors: 0        (libcheck)
    12 passed, 0 failed, 0 skipped                  (everything else)
Exit status 77 without a count is one skip. Anything else that does not fit (no count, a bad exit
status with no failure in the count) is one failure more. Lines 'SKIP name: reason', and 'NAME: exit 77'
where a program gives no reason, have to match a pattern of the expected-skips file; with CI set in the
environment an unexpected skip is a failure.
What failed, each in a line, is told again right before the sum, as the end is all that many readers see.

A program that fails, beside another one and on a machine with other work, is run once more when the others
are done. If it passes then, that counts, and its failures are told as unsteady: each is a fault to be found.
When more than a few fail, it is not the machine, and nothing is run again.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import time

# A test of "everything else", and one of libcheck: file:line:F:test case:test:number: message
FAILED = re.compile(r"^ *FAIL (.*)|^\S+?:\d+:[FE]:[^:]*:(.*)")
PATIENCE = ["env", "CK_TIMEOUT_MULTIPLIER=10"]  # libcheck only has to end the test that hangs
AGAIN = 2  # programs of a part that may need a second try
MOST, WIDEST = 25, 220  # failures that are told again, and characters of each
COUNT = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
CHECK = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$")


def line_of(count):
    return "%d passed, %d failed, %d skipped" % tuple(count)


class Program:
    """One program, run and understood."""

    def __init__(self, text, prefix, at_once):
        """at_once: print what it prints while it runs; else show() does that afterwards."""
        self.text, self.count, self.skips, self.failures, self.lines, self.at_once = text, None, [], [], [], at_once
        began = time.monotonic()
        self.put("== " + text)
        self.status = self.run(prefix + command(text))
        if self.count is None and self.status == 77 and not self.skips:
            self.skips.append("%s: exit 77" % self.name())
        if self.result()[1] > len(self.failures):
            line = "FAIL %s: exit status %d, %s" % (text, self.status, line_of(self.count) if self.count else "no count")
            self.read(line)
            self.put(line)
        self.put("   %.1f s" % (time.monotonic() - began))

    def name(self):
        return os.path.basename(shlex.split(self.text)[0])

    def run(self, argv):
        try:
            p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                 text=True, errors="replace")
        except OSError as e:
            self.put("cannot run %s: %s" % (argv[0], e))
            return 127
        for line in p.stdout:
            self.read(line.rstrip("\n"))
            self.put(line.rstrip("\n"))
        return p.wait()

    def put(self, line):
        if self.at_once:
            print(line, flush=True)
        else:
            self.lines.append(line)

    def show(self):
        for line in self.lines:
            print(line)
        sys.stdout.flush()
        return self

    def read(self, line):
        match = COUNT.match(line)
        if match:
            self.count = [int(n) for n in match.groups()]
        match = CHECK.match(line)
        if match:
            checks, failures, errors = (int(n) for n in match.groups())
            self.count = [checks - failures - errors, failures + errors, 0]
        match = FAILED.match(line)
        if match:
            self.failures.append("%s: %s" % (self.name(), match[1] or match[2]))
        if line.startswith("SKIP "):
            self.skips.append(line[5:])

    def result(self):
        if self.count is None and self.status == 77:
            return [0, 0, 1]
        count = list(self.count or [0, 0, 0])
        if self.count is None or (self.status and not count[1]):
            count[1] += 1
        return count


def command(text):
    """'tests/x.py --agent=y' -> argv; scripts need no execute bit."""
    argv = shlex.split(text)
    if argv[0].endswith(".py"):
        return [sys.executable, "-B"] + argv
    if argv[0].endswith(".sh"):
        return ["sh"] + argv
    return argv


def expected(path):
    with open(path) as f:
        return [line.strip() for line in f if line.strip() and not line.startswith("#")]


def run_all(args, prefix):
    """Programs in their order; with --jobs several at a time, each one's output in one piece."""
    if args.jobs == 1:
        yield from (Program(text, prefix, True) for text in args.what)
        return
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        yield from (p.show() for p in pool.map(lambda text: Program(text, prefix, False), args.what))


def settle(programs, prefix):
    """-> the programs, those that failed as they are at a second try, and what failed at the first only"""
    failed, unsteady = [p for p in programs if p.result()[1]], []
    if len(failed) > AGAIN:
        return programs, unsteady
    for first in failed:
        print("failed, once more:")
        second = Program(first.text, prefix, True)
        programs[programs.index(first)] = second
        if not second.result()[1]:
            unsteady += first.failures
    return programs, unsteady


def run_part(args):
    total, unexpected, failures = [0, 0, 0], [], []
    patterns = expected(args.expected_skips)
    prefix = shlex.split(args.runas) + PATIENCE + shlex.split(args.under)
    programs, unsteady = settle(list(run_all(args, prefix)), prefix)
    for program in programs:
        total = [a + b for a, b in zip(total, program.result())]
        failures += program.failures
        unexpected += [s for s in program.skips if not any(fnmatch.fnmatchcase(s, p) for p in patterns)]
    for s in unexpected:
        print("UNEXPECTED SKIP %s" % s)
    if os.environ.get("CI"):
        total[1] += len(unexpected)
        failures += ["unexpected skip: " + s for s in unexpected]
    os.makedirs(args.results, exist_ok=True)
    with open(os.path.join(args.results, args.part + ".json"), "w") as f:
        json.dump({"count": total, "failures": failures, "unsteady": unsteady}, f)
    print("check-%s: %s" % (args.part, line_of(total)))
    return 1 if total[1] else 0


def tell(title, lines):
    if lines:
        print("\n" + title)
    for line in lines[:MOST]:
        print("  " + (line if len(line) <= WIDEST else line[:WIDEST] + " ..."))
    if len(lines) > MOST:
        print("  and %d more" % (len(lines) - MOST))


def sum_parts(args):
    total, failures, unsteady = [0, 0, 0], [], []
    print("\nsummary")
    for part in args.what:
        try:
            with open(os.path.join(args.results, part + ".json")) as f:
                result = json.load(f)
        except OSError:
            result = {"count": [0, 1, 0], "failures": ["no count: it did not run to its end"], "unsteady": []}
        print("  %-9s %s" % (part, line_of(result["count"])))
        total = [a + b for a, b in zip(total, result["count"])]
        failures += ["%s: %s" % (part, f) for f in result["failures"]]
        unsteady += ["%s: %s" % (part, f) for f in result["unsteady"]]
    tell("unsteady: failed, and passed when run again", unsteady)
    tell("failed", failures)
    print(line_of(total))
    return 1 if total[1] or not total[0] else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--results", required=True)
    ap.add_argument("--expected-skips", default=os.devnull)
    ap.add_argument("--part")
    ap.add_argument("--as", dest="runas", default="", help="command in front of each program: sudo or nothing")
    ap.add_argument("--under", default="", help="another one, such as valgrind")
    ap.add_argument("--jobs", type=int, default=1, help="programs at a time")
    ap.add_argument("--sum", action="store_true")
    ap.add_argument("what", nargs="*")
    args = ap.parse_args()
    return sum_parts(args) if args.sum else run_part(args)


if __name__ == "__main__":
    sys.exit(main())
