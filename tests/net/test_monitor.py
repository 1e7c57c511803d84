#!/usr/bin/env python3
"""What the agent tells about itself: the port 10249 and 'proxylet status'."""
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import nft
import objects as obj
from harness import Skip, check, equal, wait

PORT = 10249
FAMILIES = ("IPv4", "IPv6")
# kube-proxy's own name: a gauge that ends as counters do
KNOWN_LINT = ["kubeproxy_sync_proxy_rules_no_local_endpoints_total non-counter metrics should not have \"_total\" suffix"]


def start(lab, **config):
    lab.put("node.json", obj.node())
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.2"]))
    return lab.run(**config).ready()


def page(agent, path, port=PORT, address="127.0.0.1"):
    status, headers, body = agent.get(path, port, address)
    equal(status, 200, path)
    return headers, body


def samples(agent):
    """-> {'name{labels}': value}"""
    lines = [l for l in page(agent, "/metrics")[1].splitlines() if not l.startswith("#")]
    return {name: float(value) for name, value in (l.rsplit(" ", 1) for l in lines)}


def by_family(values, name, family="IPv4"):
    return values['%s{ip_family="%s"}' % (name, family)]


def test_pages(lab):
    agent = start(lab, clusterCIDR="10.244.0.0/16", mode="")
    headers, body = page(agent, "/proxyMode")
    equal((headers["Content-Type"], body), ("text/plain; charset=utf-8", "nftables"), "/proxyMode")
    equal(headers["X-Content-Type-Options"], "nosniff", "/proxyMode")
    equal(page(agent, "/healthz")[1], "ok", "/healthz")
    equal(page(agent, "/healthz?verbose")[1], "ok", "/healthz?verbose")
    config = json.loads(page(agent, "/configz")[1])["kubeproxy.config.k8s.io"]
    equal((config["Mode"], config["HostnameOverride"], config["DetectLocal"]["ClusterCIDRs"]),
          ("nftables", obj.NODE, ["10.244.0.0/16"]), "/configz")
    headers, body = page(agent, "/metrics")
    equal(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "/metrics")
    equal(int(headers["Content-Length"]), len(body), "/metrics")
    for path in ("/", "/status", "/metrics/x", "/livez"):
        equal(agent.get(path, PORT)[0], 404, path)
    equal(agent.get("/metrics", PORT, "192.0.2.1")[0], 0, "metrics elsewhere than on the loopback")


def test_promtool(lab):
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed (Debian package prometheus)")
    text = page(start(lab), "/metrics")[1]
    p = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    equal([l for l in (p.stdout + p.stderr).splitlines() if l not in KNOWN_LINT], [], "promtool check metrics")


def test_values_follow(lab):
    before = time.time()
    agent = start(lab)
    first = samples(agent)
    for family in FAMILIES:
        check(before <= by_family(first, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", family) <= time.time(), "last commit")
        check(before <= by_family(first, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", family), "last queued")
        check(by_family(first, "kubeproxy_sync_full_proxy_rules_duration_seconds_count", family) >= 1, "full syncs")
        equal(by_family(first, "proxylet_pending_age_seconds", family), 0, "age of what waits")
    equal(first["kubeproxy_sync_proxy_rules_service_changes_total"], 2, "one Service, counted for each family")
    equal(first["kubeproxy_sync_proxy_rules_endpoint_changes_total"], 1, "slices")
    check(first['kubeproxy_proxy_healthz_total{code="200"}'] >= 1, "answers of /healthz")
    equal(first["proxylet_services"], 1, "Services")
    check(abs(first["process_start_time_seconds"] - before) < 30 and first["process_open_fds"] > 5, "process")

    web = obj.slice_of("web", ["10.244.2.2", "10.244.2.3"])
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".%09dZ" % int(now % 1 * 1e9)
    web["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": stamp}
    lab.put("web.json", obj.service("web", "10.96.0.10"), web)
    wait(lambda: by_family(samples(agent), "kubeproxy_network_programming_duration_seconds_count") == 1, "the latency")
    second = samples(agent)
    check(0 < by_family(second, "kubeproxy_network_programming_duration_seconds_sum") < 30, "the latency's size")
    equal(by_family(second, "kubeproxy_network_programming_duration_seconds_count", "IPv6"), 0, "latency of the other family")
    check(by_family(second, "kubeproxy_sync_partial_proxy_rules_duration_seconds_count") >= 1, "partial syncs")
    equal(second["kubeproxy_sync_proxy_rules_endpoint_changes_total"], 2, "slices")
    equal(second["kubeproxy_sync_proxy_rules_endpoint_changes_pending"], 0, "pending")
    check(second['proxylet_last_commit_elements{change="added",ip_family="IPv4"}'] >= 1, "elements")


def test_no_local_endpoints(lab):
    agent = start(lab)
    gauge = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="%s",ip_family="IPv4"}'
    equal(samples(agent)[gauge % "internal"], 0, "before")
    lab.put("web.json", obj.service("web", "10.96.0.10", internalTrafficPolicy="Local"), obj.slice_of("web", ["10.244.2.2"]))
    wait(lambda: samples(agent)[gauge % "internal"] == 1, "the gauge")
    equal(samples(agent)[gauge % "external"], 0, "the other policy")
    lab.put("web.json", obj.service("web", "10.96.0.10", internalTrafficPolicy="Local"), obj.slice_of("web", ["10.244.1.2"]))
    wait(lambda: samples(agent)[gauge % "internal"] == 0, "the gauge, with a local endpoint")


def occupy(ns, port):
    with ns:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen(1)
    return s


def test_port_is_taken(lab):
    taken = occupy(lab.node, PORT)
    agent = start(lab)
    check("10249" in agent.log(), "the log does not say so: %s", agent.log())
    taken.close()
    wait(lambda: agent.get("/healthz", PORT)[0] == 200, "the port, once it is free")


def test_port_is_taken_and_that_is_an_error(lab):
    taken = occupy(lab.node, PORT)
    lab.put("node.json", obj.node())
    agent = lab.run(bindAddressHardFail=True)
    equal(agent.end(), 3, "exit status; log: %s" % agent.log())
    check("10249" in agent.log(), "the log does not say why: %s", agent.log())
    taken.close()


def test_status(lab):
    agent = start(lab)
    p = agent.status("-o", "json")
    equal((p.returncode, p.stderr), (0, ""), "status")
    s = json.loads(p.stdout)
    equal((s["ready"], s["synced"], s["nodeEligible"], s["node"], s["mode"], s["services"], s["pid"]),
          (True, True, True, obj.NODE, "nftables", 1, agent.pid), "status")
    equal([(r["name"], r["objects"], r["live"], r["problem"]) for r in s["sources"]], [(lab.objects, 3, True, None)], "sources")
    equal(sorted(s["families"]), list(FAMILIES), "families")
    check(s["families"]["IPv4"]["lastCommit"]["tookSeconds"] > 0, "the last commit: %s", s["families"])
    equal([(l["name"], l["address"], l["bound"]) for l in s["listeners"]], [("status", agent.socket, True)], "listeners")
    text = agent.status()
    equal(text.returncode, 0, "status")
    check("ready" in text.stdout.splitlines()[0] and lab.objects in text.stdout, "text: %s", text.stdout)
    equal(os.stat(agent.socket).st_mode & 0o777, 0o600, "mode of the socket")


def test_health_ports(lab):
    """In status, metrics and the history of probes: what is open, what is not and why, who asked."""
    with lab.node:
        taken = socket.create_server(("0.0.0.0", 10356))
    lab.put("local.json", obj.service("local", "10.96.0.11", vips=["203.0.113.10"], externalTrafficPolicy="Local",
                                      allocateLoadBalancerNodePorts=False, healthCheckNodePort=31999),
            obj.slice_of("local", ["10.244.1.2", obj.endpoint("10.244.1.3", ready=False, serving=True, terminating=True)]))
    agent = start(lab)
    wait(lambda: '"svc/default/local"' in agent.status("-o", "json").stdout, "the Service's port")
    status, _, body = agent.get("/?verbose", 31999, "192.0.2.1")
    verbose = json.loads(body)
    equal((status, verbose["localEndpoints"], verbose["terminatingServing"], verbose["reason"]), (200, 1, 1, "ok"), "verbose")
    check(verbose["generation"] >= 1, "generation: %s", body)
    equal(agent.get("/nothing")[0], 404, "a path that is none")
    ports = {p["name"]: p for p in json.loads(agent.status("-o", "json").stdout)["healthPorts"]}
    equal(sorted(ports), ["main", "shared", "svc/default/local"], "health ports")
    equal([ports[p]["bound"] for p in sorted(ports)], [True, False, True], "what is open")
    check("10356: Address already in use" in ports["shared"]["problem"], "why it is not: %s", ports["shared"])
    check("not open: cannot listen on 0.0.0.0:10356" in agent.status().stdout, "text: %s", agent.status().stdout)
    values = samples(agent)
    for name, want in (('listener_up{listener="main"}', 1), ('listener_up{listener="shared"}', 0),
                       ('requests_total{listener="svc/default/local",method="GET",code="200"}', 1),
                       ('requests_total{listener="main",method="GET",code="404"}', 1),
                       ('response_seconds_count{listener="svc/default/local"}', 1), ("evictions_total", 0)):
        equal(values["proxylet_health_" + name], want, name)
    equal(values['proxylet_service_health_status{namespace="default",name="local"}'], 1, "status of the Service")
    equal(values['proxylet_service_health_local_endpoints{namespace="default",name="local"}'], 1, "its endpoints")
    equal(lab.command("drain", "start", "--include-services", "--socket", agent.socket).returncode, 0, "drain")
    equal(agent.get("/", 31999, "192.0.2.1")[0], 503, "the Service's port of a node that is drained")
    equal(samples(agent)['proxylet_service_health_status{namespace="default",name="local"}'], 0, "and its status")
    taken.close()


def test_probes(lab):
    agent = start(lab)
    p = lab.command("probes", "--socket", agent.socket, "-o", "json")
    equal((p.returncode, p.stderr), (0, ""), "probes")
    seen = json.loads(p.stdout)
    equal([(x["peer"], x["lastStatus"]) for x in seen["peers"]], [("127.0.0.1", 200)], "peers")
    equal(seen["peers"][0]["count"], len(seen["probes"]), "probes of the only peer")
    last = seen["probes"][-1]
    equal((last["listener"], last["method"], last["path"], last["status"], last["outcome"], last["claimed"]),
          ("main", "GET", "/healthz", 200, "http", None), "the last probe")
    with lab.node:
        s = socket.create_connection(("192.0.2.1", 10356))
        s.sendall(b"PROXY TCP4 10.1.2.3 10.240.0.4 51234 10356\r\nGET /livez?x HTTP/1.0\r\nUser-Agent: \xe4red\r\n\r\n")
        check(b" 200 OK" in s.recv(4096), "the answer")
        s.close()
    text = lab.command("probes", "--socket", agent.socket).stdout
    line = text.splitlines()[-1]
    for part in (" shared ", " 192.0.2.1:", " 200 ", " GET ", " /livez ", " ?red ", "claimed=10.1.2.3:51234"):
        check(part in line + " ", "'%s' is missing: %s", part, line)
    equal(lab.command("probes", "--socket", os.path.join(lab.folder, "nobody.sock")).returncode, 3, "probes of nobody")
    equal(agent.get("/probes", PORT)[0], 404, "the port for metrics says nothing about probers")


def test_status_of_a_problem(lab):
    agent = start(lab)
    lab.put("node.json", obj.node(taints=["ToBeDeletedByClusterAutoscaler"]))
    with open(os.path.join(lab.objects, "bad.yaml"), "w") as f:
        f.write("{ this is: [ no document\n")
    wait(lambda: agent.status().returncode == 1, "status of a tainted node")
    s = wait(lambda: [r for r in json.loads(agent.status("-o", "json").stdout)["sources"] if r["problem"]], "the problem of the file")
    check("bad.yaml" in s[0]["problem"], "problem: %s", s)
    text = agent.status().stdout
    check("not eligible" in text and "bad.yaml" in text, "text: %s", text)


def test_nobody_is_there(lab):
    p = lab.command("status", "--socket", os.path.join(lab.folder, "nobody.sock"))
    equal((p.returncode, p.stdout), (3, ""), "status of nobody")
    check("nobody.sock" in p.stderr and "no agent" in p.stderr, "message: %s", p.stderr)
    equal(lab.command("status", "--nonsense").returncode, 2, "a wrong flag")


def test_two_agents_one_path(lab):
    """In two network namespaces: the first keeps the path, and the second works all the same."""
    first = start(lab)
    second = lab.run(ns=lab.bare_node())
    second.stop(9)
    second.argv[second.argv.index("--socket") + 1] = first.socket
    second.start().ready()
    check("another process listens at" in second.log(), "the second's log: %s", second.log())
    equal(json.loads(first.status("-o", "json").stdout)["pid"], first.pid, "who answers")
    second.stop()
    equal(first.status().returncode, 0, "the first after the second is gone")


def test_path_left_behind(lab):
    agent = start(lab)
    agent.stop(9)
    equal(agent.status().returncode, 3, "status after kill -9")
    agent.start().ready()
    equal(agent.status().returncode, 0, "status of the successor")
    equal(agent.stop(), 0, "exit status")
    check(not os.path.exists(agent.socket), "the socket stays behind")
    equal(agent.status().returncode, 3, "status after the end")


def test_slow_and_silent_clients(lab):
    """Somebody who asks and does not read, or does not ask, delays nobody."""
    agent = start(lab)
    with lab.node:
        mute = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(100)]
    local = socket.socket(socket.AF_UNIX)
    local.connect(agent.socket)
    equal(agent.status().returncode, 0, "status beside them")
    check(len(page(agent, "/metrics")[1]) > 1000, "metrics beside them")
    lab.put("web.json", obj.service("web", "10.96.0.10"), obj.slice_of("web", ["10.244.2.9"]))
    wait(lambda: nft.endpoints(lab.node, "10.96.0.10", 80) == {"10.244.2.9"}, "a change beside them")
    for s in mute + [local]:
        s.close()


def processor_seconds(agent):
    with open("/proc/%d/stat" % agent.pid) as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def test_no_descriptors(lab):
    """Who cannot be accepted waits until there are descriptors again, and no loop spins on him."""
    agent = start(lab)
    _, most = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (8, most))  # all in use; poll(2) takes no more than that either
    try:
        late = socket.socket(socket.AF_UNIX)
        late.settimeout(60)
        late.connect(agent.socket)
        late.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        used = processor_seconds(agent)
        time.sleep(1)
        used = processor_seconds(agent) - used
        check(used < 0.3, "%g s of a processor in one second", used)
    finally:
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    check(b" 200 OK" in late.recv(4096), "the answer")
    late.close()


if __name__ == "__main__":
    harness.main(globals())
