#!/usr/bin/env python3
"""objects.yaml -> the text of 'proxylet render', compared with rules.nft and rules.ipt where they lie beside it.

A folder may hold a config.yaml, too. --accept writes them anew (an empty file is enough to begin with);
read the difference before you commit it. The plan.txt of all folders is compared by tests/unit/test_plan_golden.c.
"""
import argparse
import difflib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


MODES = {"rules.nft": "nftables", "rules.ipt": "iptables"}


def render(agent, folder, mode):
    argv = [agent, "render", "-f", os.path.join(folder, "objects.yaml"), "--node", "node-1", "--mode", mode]
    config = os.path.join(folder, "config.yaml")
    if os.path.exists(config):
        argv += ["--config", config]
    p = subprocess.run(argv, capture_output=True, text=True)
    return p.stdout if p.returncode == 0 else "exit status %d\n%s" % (p.returncode, p.stderr)


def read(path):
    with open(path) as f:
        return f.read()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", default="build/proxylet")
    ap.add_argument("--accept", action="store_true")
    args = ap.parse_args()
    passed = failed = 0
    for name, rules in ((n, r) for n in sorted(os.listdir(HERE)) for r in MODES):
        folder = os.path.join(HERE, name)
        path = os.path.join(folder, rules)
        if not os.path.exists(path):
            continue
        got = render(args.agent, folder, MODES[rules])
        want = read(path)
        difference = list(difflib.unified_diff(want.splitlines(), got.splitlines(), name + "/" + rules, "render", lineterm="", n=1))
        if args.accept:
            with open(path, "w") as f:
                f.write(got)
        elif difference:
            print("FAIL golden %s/%s:\n%s" % (name, rules, "\n".join(difference[:60])))
        passed, failed = (passed + 1, failed) if args.accept or not difference else (passed, failed + 1)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
