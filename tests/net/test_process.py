#!/usr/bin/env python3
"""One agent a namespace, no place to write, no capability."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
import traffic
from harness import Skip, check, equal, wait
from lab import AgentError


def one_service(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    lab.serve(traffic.TcpServer(lab.rem))


def test_second_agent_leaves(lab):
    one_service(lab)
    first = lab.run().ready()
    generation = nft.generation(lab.node)
    second = lab.run(proxylet={"handover": "never"})
    equal(second.end(), 3, "exit status of the second")
    check(str(first.pid) in second.log(), "the second does not name the first's pid %d: %s", first.pid, second.log())
    equal(first.get()[0], 200, "the first's health")
    equal(nft.generation(lab.node), generation, "generation id")
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.9"]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.9"}, "the first still works")


def test_successor_after_the_first_is_killed(lab):
    one_service(lab)
    lab.run().ready().stop(signal.SIGKILL)
    lab.run().ready()


def test_nothing_is_writable(lab):
    one_service(lab)
    read_only = """
    mount --make-rprivate /
    # the children of a mount first, or it is busy; /proc and /sys carry no files of ours
    while read -r _ point _; do
        case $point in /proc|/proc/*|/sys|/sys/*) continue ;; esac
        mount -o remount,bind,ro "$point" 2>/dev/null
    done </proc/mounts
    for place in / /tmp /run /var/tmp /dev/shm; do
        [ ! -d $place ] || ! (: >$place/pxl-writable) 2>/dev/null || { echo "$place is writable"; exit 77; }
    done
    exec "$@"
    """
    agent = lab.run(before=["unshare", "-m", "sh", "-c", read_only, "sh"])
    try:
        agent.ready()
    except AgentError:
        if agent.process.poll() == 77:
            raise Skip("no read-only mounts here: %s" % agent.log().strip())
        raise
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.9"]))
    wait(lambda: traffic.ask(lab.ext, "10.96.0.10", 80, timeout=traffic.POLLING) == ("10.244.2.9", "192.0.2.1"), "the change arrives")


def test_without_net_admin(lab):
    one_service(lab)
    agent = lab.run(before=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    equal(agent.end(), 3, "exit status; log: %s" % agent.log())
    check("CAP_NET_ADMIN" in agent.log(), "the message does not name CAP_NET_ADMIN: %s", agent.log())
    equal(nft.raw(lab.node), [], "tables")


def test_bad_configuration(lab):
    one_service(lab)
    agent = lab.run(nodePortAddresses=["10.0.0.0/33"])
    equal(agent.end(), 2, "exit status; log: %s" % agent.log())
    check("nodePortAddresses" in agent.log(), "the message does not name the field: %s", agent.log())


def test_missing_objects(lab):
    agent = lab.run(paths=os.path.join(lab.folder, "nowhere"))
    check(agent.end() in (2, 3), "exit status %s", agent.process.returncode)
    check("nowhere" in agent.log(), "the message does not name the path: %s", agent.log())


if __name__ == "__main__":
    harness.main(globals())
