#!/usr/bin/env python3
"""cleanup takes our rules away and cuts no established connection."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import check, equal


def start(lab):
    lab.serve(traffic.TcpServer(lab.rem))
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    return lab.run().ready()


def test_established_connection_survives(lab):
    agent = start(lab)
    c = traffic.Connection(lab.ext, "10.96.0.10", 80)
    agent.stop()
    p = lab.command("cleanup")
    equal(p.returncode, 0, "cleanup: %s" % p.stderr)
    check(c.ping(), "the connection broke")
    answer = traffic.ask(lab.ext, "10.96.0.10", 80, timeout=0.5)
    check(not isinstance(answer, tuple), "new connections are still served: %s", answer)
    check(not nft.listing(lab.node).get("set svc", {}).get("elem"), "Services are still in the kernel")
    c.close()


def test_dry_run_changes_nothing(lab):
    start(lab).stop()
    before, generation = nft.listing(lab.node), nft.generation(lab.node)
    p = lab.command("cleanup", "--dry-run")
    equal(p.returncode, 0, "cleanup --dry-run: %s" % p.stderr)
    check("proxylet" in p.stdout, "it does not say what it would remove: %s", p.stdout)
    equal((nft.listing(lab.node), nft.generation(lab.node)), (before, generation), "after --dry-run")


def test_now_leaves_nothing(lab):
    start(lab).stop()
    p = lab.command("cleanup", "--now")
    equal(p.returncode, 0, "cleanup --now: %s" % p.stderr)
    for family in ("ip", "ip6"):
        equal(nft.raw(lab.node, family), [], "table %s" % family)


def test_nothing_there(lab):
    p = lab.command("cleanup")
    equal(p.returncode, 0, "cleanup of a clean node: %s" % p.stderr)


def test_second_table_of_a_replacement(lab):
    """Killed after the first table is gone, the second one holds the rules."""
    equal(nft.run(lab.node, "-f", "-", text="add table ip proxylet-next { chain nat-prerouting { }; }").returncode, 0, "nft")
    p = lab.command("cleanup")
    equal((p.returncode, p.stdout), (0, "IPv4: remove table proxylet-next\n"), "cleanup: %s" % p.stderr)
    check(nft.run(lab.node, "list", "table", "ip", "proxylet-next").returncode != 0, "table proxylet-next is still there")


def test_start_after_cleanup(lab):
    agent = start(lab)
    agent.stop()
    lab.command("cleanup")
    agent.start().ready()
    equal(traffic.ask(lab.ext, "10.96.0.10", 80), ("10.244.2.2", "192.0.2.1"), "the Service")


if __name__ == "__main__":
    harness.main(globals())
