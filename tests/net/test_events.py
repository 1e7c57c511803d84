#!/usr/bin/env python3
"""What people see with "kubectl describe": events, told as kube-proxy tells them."""
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
import otherproxy as other
from apiserver import ApiServer, Refusal, kubeconfig, status_body
from harness import check, equal, wait

IP, PORT = "10.96.0.10", 30100
MICRO_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


def local_service():
    item = obj.service("web", IP)
    item["spec"].update(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=PORT)
    return item


def serve(lab):
    return lab.serve(ApiServer(lab.node, obj.node(), local_service(), obj.slice_of("web", ["10.244.2.2"])))


def run(lab, server):
    path = kubeconfig(lab.folder, server.url)
    agent = labs.Agent(lab, lab.node, [], clientConnection={"kubeconfig": path})
    lab.agents.append(agent)
    return agent


def told(server, reason):
    with server.lock:
        return [e for e in server.events.values() if e["reason"] == reason]


def one(server, reason):
    wait(lambda: told(server, reason), "an event " + reason, every=0.02)
    equal(len(told(server, reason)), 1, "events " + reason)
    return told(server, reason)[0]


def test_starting(lab):
    server = serve(lab)
    run(lab, server).ready()
    e = one(server, "Starting")
    check(MICRO_TIME.match(e["eventTime"]), "eventTime %s", e["eventTime"])
    check(e["metadata"]["name"].startswith(obj.NODE + "."), "name %s", e["metadata"])
    check(e["reportingInstance"].startswith("kube-proxy-"), "reportingInstance %s", e["reportingInstance"])
    equal(e["metadata"]["namespace"], "default", "namespace")
    equal({k: e[k] for k in ("type", "action", "reportingController", "regarding", "note")}, {
        "type": "Normal", "action": "StartKubeProxy", "reportingController": "kube-proxy", "note": "",
        "regarding": {"kind": "Node", "name": obj.NODE, "uid": obj.NODE}}, "Starting")
    check("series" not in e, "a series of one: %s", e)


def test_health_port_that_is_taken(lab):
    """One event and, when it is tried again, one update."""
    server = serve(lab)
    with lab.node:
        taken = [socket.create_server(("0.0.0.0", PORT)), socket.create_server(("::", PORT), family=socket.AF_INET6)]
    try:
        run(lab, server).ready()
        e = one(server, "FailedToStartServiceHealthcheck")
        equal((e["type"], e["action"]), ("Warning", "Listen"), "type and action")
        equal(e["regarding"], {"kind": "Service", "namespace": "default", "name": "web", "uid": "default/web"}, "regarding")
        check(str(PORT) in e["note"] and "default/web" in e["note"] and "in use" in e["note"], "note %r", e["note"])
        wait(lambda: one(server, "FailedToStartServiceHealthcheck").get("series", {}).get("count", 0) >= 2, "the same again", every=0.1)
        check(MICRO_TIME.match(one(server, "FailedToStartServiceHealthcheck")["series"]["lastObservedTime"]), "lastObservedTime")
    finally:
        for s in taken:
            s.close()


def refused(lab, status):
    """One line, and everything else goes on."""
    server = serve(lab)
    server.quirks.refuse = [Refusal(status, name="events", body=status_body(status, "no events for you"))]
    with lab.node:
        taken = socket.create_server(("0.0.0.0", PORT))
    try:
        agent = run(lab, server).ready()
        wait(lambda: len(server.asked("events")) >= 2, "two events")
        time.sleep(0.2)
    finally:
        taken.close()
    found = [line for line in agent.log().splitlines() if "no events for you" in line]
    equal(len(found), 1, "lines")
    check(re.search(r"info api: events: %d: no events for you; going on without" % status, found[0]), "the line: %s", found[0])
    server.put(obj.slice_of("web", ["10.244.2.3"]))
    wait(lambda: nft.endpoints(lab.node, IP, 80) == {"10.244.2.3"}, "a change")


def test_no_right_to_it(lab):
    refused(lab, 403)


def test_no_such_resource(lab):
    refused(lab, 404)


def test_server_that_is_busy(lab):
    server = serve(lab)
    server.quirks.refuse = [Refusal(429, {"Retry-After": "1"}, name="events", times=1)]
    run(lab, server).ready()
    one(server, "Starting")
    times = [r[3] for r in server.asked("events")]
    check(times[1] - times[0] >= 0.9, "asked again after %g s", times[1] - times[0])


def test_other_proxy(lab):
    """A kube-proxy that comes back beside us, and goes again, is told about the Node."""
    server = serve(lab)
    agent = run(lab, server).ready()
    process = other.Process(lab, lab.node)
    other.load(lab.node, "nftables")
    e = one(server, "OtherProxyRuns")
    equal((e["type"], e["regarding"]["kind"], e["regarding"]["name"]), ("Warning", "Node", obj.NODE), "OtherProxyRuns")
    check("two proxies program this node" in e["note"], "note %s", e["note"])
    equal(agent.get()[0], 200, "health: our rules are in place")
    process.close()
    equal(one(server, "OtherProxyGone")["type"], "Normal", "OtherProxyGone")


if __name__ == "__main__":
    harness.main(globals())
