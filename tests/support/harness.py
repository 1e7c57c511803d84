"""Runs the test functions of a module and counts them.

A test is a function test_NAME(lab): it gets a fresh lab (see lab.py) that is taken down afterwards.
It fails by raising, is skipped by raising Skip('reason'); wait() and check() raise for it.
"""
import argparse
import os
import signal
import sys
import time
import traceback

import lab as labs

DEADLINE = 60.0  # seconds; costs nothing unless what is waited for never happens
BUSY = 10  # how often the stated time something may take on a machine that does other things, too


class Skip(Exception):
    pass


class Failure(Exception):
    pass


def check(condition, text, *args):
    if not condition:
        raise Failure(text % args if args else text)


def equal(got, want, what):
    if got != want:
        raise Failure("%s: expected %r, got %r" % (what, want, got))


def wait(condition, what, seconds=DEADLINE, every=0.005):
    """
    Poll until condition() is true; returns its value. A deadline that passes is a failure. Give another one only
    where the time is what is tested: machines that run tests do other things, too.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure("%s: not within %g s" % (what, seconds))
        time.sleep(every)


def quick(step, limit, *names, rounds=7):
    """
    step() measures once, -> seconds for each of the names. As often as rounds, and until most of so many were within
    the limit: what is slow itself never gets there, and a machine that does other things, too, at last.
    """
    taken, deadline = [], time.monotonic() + DEADLINE / 2
    enough = rounds // 2 + 1
    while len(taken) < rounds or any(sum(t[i] <= limit for t in taken) < enough for i in range(len(names))):
        check(len(taken) < rounds or time.monotonic() < deadline, "over %g ms: %s", 1000 * limit,
              "; ".join("%s %s" % (name, [round(1000 * t[i]) for t in taken[-20:]]) for i, name in enumerate(names)))
        taken.append(step())
    for i, name in enumerate(names):
        print("     %s: %s" % (name, ", ".join("%.0f ms" % (1000 * t[i]) for t in taken[-20:])))


def shortened(text, most=1500):
    """A message that holds whole logs hides what it says; they are printed after it anyway."""
    return text if len(text) <= most else "%s\n[... %d characters ...]\n%s" % (text[:most // 2], len(text) - most, text[-most // 2:])


def run_one(name, function, agent):
    """-> 'ok', 'FAIL' or 'SKIP', with its line printed"""
    began = time.monotonic()
    lab, result, text = None, "ok", ""
    try:
        lab = labs.Lab(agent)
        function(lab)
        lab.end_agents()
    except Skip as e:
        result, text = "SKIP", str(e)
    except (Failure, labs.AgentError) as e:
        result, text = "FAIL", str(e)
    except Exception as e:  # a fault of the test or of the environment: show where
        result, text = "FAIL", "%s: %s\n%s" % (type(e).__name__, e, traceback.format_exc(limit=-4))
    finally:
        logs = lab.logs() if lab and result == "FAIL" else ""
        left = lab.close() if lab else ""
        if left:
            result, text = "FAIL", "; ".join(filter(None, (text, left)))
    if result == "ok":
        print("ok   %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
    else:
        print("%s %s: %s%s" % (result, name, shortened(text), logs), flush=True)
    return result


ENDS = signal.SIGTERM, signal.SIGHUP


def stop(*_):
    for sig in ENDS:
        signal.signal(sig, signal.SIG_IGN)  # the way out takes a while
    sys.exit("interrupted")


def end_cleanly():
    """When told to end, namespaces are taken down on the way out. What nohup ignores stays ignored."""
    for sig in ENDS:
        if signal.getsignal(sig) != signal.SIG_IGN:
            signal.signal(sig, stop)


def main(module):
    """Run every test_* of the module's globals(), or those named on the command line."""
    ap = argparse.ArgumentParser(description=module.get("__doc__"))
    ap.add_argument("--agent", default="build/proxylet")
    ap.add_argument("names", nargs="*", help="parts of test names")
    args = ap.parse_args()
    end_cleanly()
    tests = [(n[5:], f) for n, f in module.items() if n.startswith("test_") and callable(f)]
    wanted = [(n, f) for n, f in tests if not args.names or any(part in n for part in args.names)]
    if os.geteuid() != 0:
        sys.exit("network namespaces need root")
    results = [run_one(name, function, os.path.abspath(args.agent)) for name, function in wanted]
    print("%d passed, %d failed, %d skipped" % tuple(results.count(r) for r in ("ok", "FAIL", "SKIP")))
    sys.exit(1 if "FAIL" in results or not results else 0)
