#!/usr/bin/env python3
"""What the agent may still do once it runs."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
from harness import check, equal, wait

NET_BIND_SERVICE, NET_ADMIN = 1 << 10, 1 << 12
NOBODY = "65532"


def one_service(lab):
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))


def rights(agent):
    """-> {field of /proc/PID/status: its values in all threads}"""
    found = {}
    tasks = "/proc/%d/task" % agent.pid
    for task in os.listdir(tasks):
        try:
            with open("%s/%s/status" % (tasks, task)) as f:
                lines = list(f)
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has ended
        for line in lines:
            name, _, value = line.partition(":")
            if name.startswith("Cap"):
                found.setdefault(name, set()).add(int(value, 16))
            elif name in ("NoNewPrivs", "Seccomp"):
                found.setdefault(name, set()).add(int(value))
    check(len(os.listdir(tasks)) >= 3, "only %d threads", len(os.listdir(tasks)))
    return found


def expect(agent, capabilities, seccomp=2, bounding=None):
    want = {"CapEff": capabilities, "CapPrm": capabilities, "CapBnd": capabilities if bounding is None else bounding,
            "CapInh": capabilities, "CapAmb": capabilities,  # iptables is installed, and would run with them
            "NoNewPrivs": 1, "Seccomp": seccomp}
    equal(rights(agent), {name: {value} for name, value in want.items()}, "rights")


def rewrite(agent, **fields):
    with open(agent.config) as f:
        new = dict(json.load(f), **fields)
    with open(agent.config + ".new", "w") as f:
        json.dump(new, f)
    os.rename(agent.config + ".new", agent.config)


def change_arrives(lab):
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.9"]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.9"}, "the change arrives")


def test_one_capability(lab):
    one_service(lab)
    expect(lab.run().ready(), NET_ADMIN)
    change_arrives(lab)


def test_low_port(lab):
    one_service(lab)
    agent = lab.run(healthzBindAddress="0.0.0.0:256")
    wait(lambda: agent.get(port=256)[0] == 200, "ready")
    expect(agent, NET_ADMIN | NET_BIND_SERVICE)


def test_calls_are_only_logged(lab):
    one_service(lab)
    expect(lab.run(proxylet={"seccomp": "log"}).ready(), NET_ADMIN)


def test_no_filter(lab):
    one_service(lab)
    expect(lab.run(proxylet={"seccomp": "off"}).ready(), NET_ADMIN, seccomp=0)


def test_without_the_right_to_drop(lab):
    """As in a container: CAP_NET_ADMIN is all there ever was, so the bounding set cannot be touched."""
    one_service(lab)
    agent = lab.run(before=["setpriv", "--bounding-set=-all,+net_admin,+net_bind_service",
                            "--inh-caps=-all,+net_admin,+net_bind_service", "--ambient-caps=-all"])
    expect(agent.ready(), NET_ADMIN, bounding=NET_ADMIN | NET_BIND_SERVICE)


def test_user_with_ambient_capability(lab):
    one_service(lab)
    os.chmod(lab.folder, 0o777)
    lab.agent = shutil.copy(lab.agent, lab.folder)  # where it was built may be closed to others
    agent = lab.run(before=["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all,+net_admin",
                            "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"])
    expect(agent.ready(), NET_ADMIN)
    equal(os.stat("/proc/%d" % agent.pid).st_uid, int(NOBODY), "user")
    change_arrives(lab)
    equal(agent.status().returncode, 0, "status")


def test_what_was_given_up_is_said(lab):
    one_service(lab)
    agent = lab.run().ready()
    rewrite(agent, healthzBindAddress="0.0.0.0:256", proxylet={"seccomp": "off"})
    wait(lambda: "the new configuration is in force" in agent.log(), "the configuration is read")
    for word in ("proxylet.seccomp counts from the next start on", "CAP_NET_BIND_SERVICE"):
        check(word in agent.log(), "no word of \"%s\": %s", word, agent.log())
    expect(agent, NET_ADMIN)


if __name__ == "__main__":
    harness.main(globals())
