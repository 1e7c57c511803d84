"""What iptables holds of ours, in either variant, in a form that can be compared."""
import re
import subprocess

VARIANTS = ("nft", "legacy")
PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}


def run(ns, *argv, text=None):
    """argv: a program and its arguments. -> what it printed"""
    with ns:
        p = subprocess.run(argv, input=text, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stderr.strip()))
    return p.stdout


def save(ns, variant, family="ip"):
    return run(ns, "%s-%s-save" % (PROGRAMS[family], variant))


def listing(ns, variant, family="ip"):
    """{"nat PXL-SERVICES": [rules]}, and under "nat PREROUTING" those that lead to us."""
    out, table = {}, ""
    for line in save(ns, variant, family).splitlines():
        if line.startswith("*"):
            table = line[1:] + " "
        elif line.startswith(":PXL-"):
            out.setdefault(table + line[1:].split()[0], [])
        elif line.startswith("-A") and "PXL-" in line:
            _, chain, rule = line.split(" ", 2)
            out.setdefault(table + chain, []).append(rule)
    return out


def endpoints(ns, variant, address, port, family="ip"):
    """Where the rules may send a connection to a clusterIP, whoever asks."""
    table = listing(ns, variant, family)
    chains = [rule.split()[-1] for name, rules in table.items() if name.startswith("nat PXL-SERVICES-")
              for rule in rules if re.search(r"-d %s/\d+ .*--dport %d -j" % (re.escape(address), port), rule)]
    return {re.search(r"--to-destination \[?(.*?)\]?:\d+$", rule)[1]
            for chain in chains for rule in table["nat " + chain] if "--to-destination" in rule}


def difference(a, b):
    for key in sorted(set(a) | set(b)):
        if a.get(key) != b.get(key):
            return "%s: %s against %s" % (key, str(a.get(key))[:600], str(b.get(key))[:600])
    return ""
