#!/usr/bin/env python3
"""The agent reads from an API server, whatever the server does."""
import gzip
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
from apiserver import ApiServer, Refusal, event, kubeconfig, status_body
from harness import check, equal, wait

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "api")
IP = "10.96.0.10"
COLLECTIONS = ("services", "endpointslices", "nodes", "servicecidrs")


def run(lab, server, before=(), cluster=None, user=None, ns=None, **config):
    """An agent that reads from this server."""
    path = kubeconfig(lab.folder, server if isinstance(server, str) else server.url, cluster, user)
    agent = labs.Agent(lab, ns or lab.node, [], before, clientConnection={"kubeconfig": path}, logging={"verbosity": 4},
                       **config)
    lab.agents.append(agent)
    return agent


def one_service(lab, **more):
    """A server with one Service of one endpoint."""
    return lab.serve(ApiServer(lab.node, obj.node(), obj.service("web", IP), obj.slice_of("web", ["10.244.2.2"]), **more))


def holds(lab, *endpoints, ip=IP):
    wait(lambda: nft.endpoints(lab.node, ip, 80) == set(endpoints), "%s has the endpoints %s" % (ip, endpoints), every=0.02)


def change(lab, server, endpoint):
    """An event arrives, so the watch is alive."""
    server.put(obj.slice_of("web", [endpoint]))
    holds(lab, endpoint)


def said(agent, pattern, times=None):
    """Lines of the log; times: exactly so many."""
    found = [line for line in agent.log().splitlines() if re.search(pattern, line) and " debug " not in line]
    if times is not None:
        equal(len(found), times, "lines with %r, %s" % (pattern, found))
    return found


def waits_for(agent, pattern):
    wait(lambda: said(agent, pattern), "a line with %r" % pattern, every=0.02)


def test_follows(lab):
    server = one_service(lab)
    run(lab, server).ready()
    holds(lab, "10.244.2.2")
    change(lab, server, "10.244.2.3")
    server.put(obj.service("two", "10.96.0.11"), obj.slice_of("two", ["10.244.2.4"]))
    holds(lab, "10.244.2.4", ip="10.96.0.11")
    server.delete(obj.service("two", "10.96.0.11"))
    holds(lab, ip="10.96.0.11")
    labelled = obj.service("web", IP)
    labelled["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": ""}
    server.put(labelled)
    holds(lab)
    server.put(obj.service("web", IP))
    holds(lab, "10.244.2.3")


def test_asks_as_kube_proxy(lab):
    server = one_service(lab, tokens=["abc"])
    run(lab, server, user={"token": "abc"}).ready()
    stream = dict(sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true")
    selectors = {
        "services": dict(labelSelector="!service.kubernetes.io/service-proxy-name", fieldSelector="spec.clusterIP!=None"),
        "endpointslices": dict(labelSelector="!service.kubernetes.io/headless"),
        "nodes": dict(fieldSelector="metadata.name=" + obj.NODE),
        "servicecidrs": {},
    }
    for name, query in selectors.items():
        equal(len(server.asked(name)), 1, "requests for " + name)
        equal(len(server.asked(name, **dict(stream, **query))), 1, "requests for %s with %s" % (name, query))
    for name, _, headers, _ in server.requests:
        equal(headers["authorization"], "Bearer abc", "token for " + name)
        check(headers["user-agent"].startswith("proxylet/"), "user agent %s", headers["user-agent"])


def refused_stream(lab, how):
    server = one_service(lab)
    server.quirks.stream = how
    agent = run(lab, server).ready()
    holds(lab, "10.244.2.2")
    wait(lambda: server.watching("endpointslices"), "a watch")
    change(lab, server, "10.244.2.3")
    equal(len(server.asked("services", sendInitialEvents="true")), 1, "WatchList requests")
    server.forget()
    server.cut()
    change(lab, server, "10.244.2.4")
    equal(len(server.asked("services", sendInitialEvents="true")), 1, "WatchList requests after another list")
    said(agent, "warn|error", 0) if how != "ends" else None


def test_stream_refused_400(lab):
    refused_stream(lab, 400)


def test_stream_refused_422(lab):
    refused_stream(lab, 422)


def test_stream_refused_by_event(lab):
    refused_stream(lab, "error")


def test_stream_ignored(lab):
    refused_stream(lab, "ignored")


def test_stream_ends_too_soon(lab):
    refused_stream(lab, "ends")


def many(n):
    for i in range(n):
        ip = "10.97.%d.%d" % (i >> 8, i & 255)
        yield obj.service("many-%04d" % i, ip)
        yield obj.slice_of("many-%04d" % i, ["10.244.2.%d" % (2 + i % 200)])


def has_many(lab, n):
    got = len([e for e in nft.listing(lab.node)["set svc"]["elem"] if nft.element(e)[0][0].startswith("10.97.")])
    equal(got, n, "Services in the kernel")


def test_pages(lab):
    server = one_service(lab)
    server.put(*many(1200))
    server.quirks.stream, server.quirks.gzip = 400, True
    run(lab, server).ready()
    has_many(lab, 1200)
    equal([r[1].get("continue") for r in server.asked("services", limit="500")], [None, "500", "1000"], "pages")


def test_page_token_expires(lab):
    server = one_service(lab)
    server.put(*many(1200))
    server.quirks.stream, server.quirks.page_gone = 400, 1
    run(lab, server).ready()
    has_many(lab, 1200)
    server.quirks.page_gone = 1 << 30
    server.stop()
    server.delete(obj.service("many-0007", ""))
    server.forget()
    server.start()
    wait(lambda: "many-0007" not in json.dumps(nft.listing(lab.node)), "the Service is gone", every=0.1)
    has_many(lab, 1199)


def test_every_byte_alone(lab):
    server = one_service(lab)
    server.quirks.split = True
    run(lab, server).ready()
    change(lab, server, "10.244.2.3")
    server.quirks.stream = 400
    server.forget()
    server.cut("close")
    change(lab, server, "10.244.2.4")


def broken_off(lab, how):
    server = one_service(lab)
    server.put(obj.service("old", "10.96.0.12"), obj.slice_of("old", ["10.244.2.9"]))
    agent = run(lab, server).ready()
    wait(lambda: len(server.watches) == 4, "four watches")
    before, fds = nft.generation(lab.node), len(os.listdir("/proc/%d/fd" % agent.pid))
    for _ in range(3):
        time.sleep(1.1)  # watches that end sooner are a failure, and wait longer each time
        server.cut(how)
        wait(lambda: len(server.watching("endpointslices")) == 1 and len(server.watching("services")) == 1, "the watches are back")
    equal(nft.generation(lab.node), before, "generation id after three cuts")
    wait(lambda: len(os.listdir("/proc/%d/fd" % agent.pid)) <= fds, "no more open descriptors than before")
    equal(agent.get()[0], 200, "health")
    change(lab, server, "10.244.2.3")


def test_reset(lab):
    broken_off(lab, "reset")


def test_closed(lab):
    broken_off(lab, "close")


def test_half_closed(lab):
    broken_off(lab, "half")


def test_cut_inside_an_event(lab):
    server = one_service(lab)
    run(lab, server).ready()
    line = event("MODIFIED", dict(obj.slice_of("web", ["10.244.2.9"])))
    server.inject("endpointslices", line[:len(line) // 2])
    time.sleep(0.05)
    server.cut("close")
    change(lab, server, "10.244.2.3")


def test_away_and_back(lab):
    """The server is gone for a while: nothing changes. What happened meanwhile is caught up with."""
    server = one_service(lab)
    server.put(obj.service("old", "10.96.0.12"), obj.slice_of("old", ["10.244.2.9"]))
    agent = run(lab, server).ready()
    before = nft.generation(lab.node)
    server.stop()
    waits_for(agent, "Connection refused")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        equal(agent.get()[0], 200, "health while the server is away")
        time.sleep(0.1)
    equal(nft.generation(lab.node), before, "generation id")
    said(agent, r"warn api: http://127.0.0.1:\d+: Connection refused", 1)
    server.delete(obj.service("old", "10.96.0.12"))
    server.put(obj.slice_of("web", ["10.244.2.3"]))
    server.start()
    holds(lab, "10.244.2.3")
    holds(lab, ip="10.96.0.12")
    said(agent, "answers again", 1)


def too_old(lab, form):
    server = one_service(lab)
    server.put(obj.service("old", "10.96.0.12"), obj.slice_of("old", ["10.244.2.9"]))
    server.quirks.gone = form
    agent = run(lab, server).ready()
    before = nft.generation(lab.node)
    server.forget()
    server.cut()
    wait(lambda: len(server.asked("services", sendInitialEvents="true")) == 2, "another list")
    wait(lambda: len(server.watches) == 4, "four watches")
    change(lab, server, "10.244.2.3")
    equal(nft.generation(lab.node) - before, 1, "commits")
    server.stop()
    server.forget()
    server.delete(obj.service("old", "10.96.0.12"))
    server.forget()
    server.start()
    holds(lab, ip="10.96.0.12")
    holds(lab, "10.244.2.3")
    said(agent, "error|too old", 0)


def test_410_as_event(lab):
    too_old(lab, "event")


def test_410_as_status(lab):
    too_old(lab, "status")


def patient(lab):
    """An agent whose next failure makes it wait for 3.2 s at least; its watches have just begun."""
    server = one_service(lab)
    agent = run(lab, server).ready()
    server.stop()
    server.forget()
    # The end of a watch that had just begun is a failure of each collection, and so is its next attempt.
    wait(lambda: agent.log().count("Connection refused") >= 4, "everybody to have tried once more", every=0.02)
    server.start()
    wait(lambda: len(server.watches) == 4, "four watches", every=0.02)
    return server, agent


def test_410_soon_after_a_list(lab):
    """A server that began anew has no history. That is no fault of its lists: what was waited for before does not count."""
    server, _ = patient(lab)
    time.sleep(1.1)  # watches that end sooner are a failure
    cut_at = time.monotonic()
    server.forget()
    server.cut()
    wait(lambda: len(server.watches) == 4, "four watches")
    for name in COLLECTIONS:
        listed_at = next(r[3] for r in server.asked(name, sendInitialEvents="true") if r[3] > cut_at)
        check(listed_at - cut_at < 3, "%s were listed after %g s", name, listed_at - cut_at)


def test_all_watches_come_back_together(lab):
    """Also those that had only just begun when the server went away."""
    server, agent = patient(lab)
    apart = []
    for outage in (2, 3, 4):  # alone they would come back over seconds, and ever more; a busy machine is late at times
        server.stop()
        wait(lambda: len(said(agent, "Connection refused")) >= outage, "the outage to be seen", every=0.02)
        began = time.monotonic()
        server.start()
        wait(lambda: len(server.watches) == 4, "four watches", every=0.02)
        firsts = {r[0]: r[3] for r in reversed(server.requests) if r[0] in COLLECTIONS and r[3] > began}
        apart.append(max(firsts.values()) - min(firsts.values()))
        if apart[-1] < 1:
            return
    check(False, "the collections were asked for %s s apart", apart)


def test_410_to_a_list(lab):
    """Nothing that was asked for is too old: asking again at once would not end."""
    server = one_service(lab)
    server.quirks.refuse = [Refusal(410, name="services", times=1)]
    agent = run(lab, server).ready()
    first, second = (r[3] for r in server.asked("services"))
    check(second - first >= 0.75, "came back after %g s", second - first)
    said(agent, "warn api: services: 410: refused by the test", 1)


def test_history_lost(lab):
    """Restored from a backup: versions go back, and watches from the old ones would be silent for ever."""
    server = one_service(lab)
    run(lab, server).ready()
    change(lab, server, "10.244.2.3")
    server.stop()
    server.rewind(50)
    server.put(obj.slice_of("web", ["10.244.2.4"]))
    server.start()
    holds(lab, "10.244.2.4")
    change(lab, server, "10.244.2.5")


def test_versions_by_collection(lab):
    """A store of its own counts by itself. A low version of the own node that never changes says nothing; when it is
    another one, one more list of the others tells that nothing is lost."""
    server = one_service(lab)
    server.quirks.fixed = {"nodes": 1}
    run(lab, server).ready()

    def lists_of(name):
        return len(server.asked(name, sendInitialEvents="true"))

    for k, version, lists in ((2, 1, 1), (3, 2, 2), (4, 3, 2)):
        change(lab, server, "10.244.2.%d" % (k + 1))
        time.sleep(1.1)     # a watch that ends sooner counts as a failure
        equal(lists_of("services"), 1 + (k == 4), "lists until now")
        server.quirks.fixed = {"nodes": version}
        server.end_watches()
        wait(lambda: len(server.asked("nodes")) == k and len(server.watching("nodes")) == 1, "the node to be listed again")
        for name in ("services", "endpointslices"):
            wait(lambda: len(server.watching(name)) == 1 and lists_of(name) == lists, "%d lists of %s" % (lists, name))


def retry_after(lab, status):
    server = one_service(lab)
    server.quirks.refuse = [Refusal(status, {"Retry-After": "3"}, name="services", times=1)]
    agent = run(lab, server).ready()
    times = [r[3] for r in server.asked("services")]
    check(times[1] - times[0] >= 2.9, "came back after %g s", times[1] - times[0])
    equal(len(times), 2, "requests")
    said(agent, "warn api: services: %d: refused by the test" % status, 1)
    said(agent, "warn|error", 1)


def test_429_with_retry_after(lab):
    retry_after(lab, 429)


def test_503_with_retry_after(lab):
    retry_after(lab, 503)


def test_backs_off(lab):
    server = one_service(lab)
    server.quirks.refuse = [Refusal(500, name="services", times=3)]
    run(lab, server).ready()
    times = [r[3] for r in server.asked("services")]
    gaps = [b - a for a, b in zip(times, times[1:])]
    for gap, least in zip(gaps, (0.8, 1.6, 3.2)):
        check(gap >= least - 0.05, "waited %s s", gaps)
    check(sum(gaps) < 2 * 5.6 + 20, "waited %s s", gaps)  # at most twice as long, and what a busy machine adds


def test_nothing_before_all_is_known(lab):
    server = one_service(lab)
    first = run(lab, server).ready()
    first.stop()
    before = nft.generation(lab.node)
    for held in COLLECTIONS:
        server.quirks.hold = {held}
        asked = len(server.asked(held))
        agent = run(lab, server)
        wait(lambda: len(server.asked(held)) > asked, "it asks for " + held)
        time.sleep(0.5)
        equal(nft.generation(lab.node), before, "generation id without " + held)
        wait(lambda: agent.get()[0] == 200, "health, of the rules of before, without " + held)
        equal(nft.generation(lab.node), before, "generation id without %s, later" % held)
        server.quirks.hold = set()
        agent.ready()
        agent.stop()
    holds(lab, "10.244.2.2")


def test_waits_for_the_node(lab):
    """IN-31: until it exists and has an address nothing is programmed; what an earlier run left stays."""
    server = one_service(lab)
    run(lab, server).ready().stop()
    before = nft.generation(lab.node)
    server.delete(obj.node())
    server.put(obj.slice_of("web", ["10.244.2.3"]))
    agent = run(lab, server)
    waits_for(agent, 'warn agent: Node "%s" does not exist: waiting for that' % obj.NODE)
    wait(lambda: agent.get()[0] == 503, "health without the Node, also after a warm start")
    wait(lambda: "does not exist" in agent.status().stdout, "status without the Node")
    bare = obj.node()
    bare["status"]["addresses"] = []
    server.put(bare)
    waits_for(agent, 'warn agent: Node "%s" has no address' % obj.NODE)
    wait(lambda: "has no address" in agent.status().stdout, "status without an address")
    equal(agent.get()[0], 503, "health without an address")
    equal(nft.generation(lab.node), before, "generation id")
    holds(lab, "10.244.2.2")
    server.put(obj.node())
    agent.ready()
    holds(lab, "10.244.2.3")
    server.delete(obj.node())  # now it is known, and counts on
    wait(lambda: agent.get()[0] == 503, "health without the Node")
    change(lab, server, "10.244.2.4")


def test_waits_for_the_node_long_enough(lab):
    server = one_service(lab)
    server.delete(obj.node())
    agent = run(lab, server, proxylet={"nodeTimeout": "1s"})
    equal(agent.end(), 3, "exit status")
    said(agent, 'error agent: Node "%s" does not exist, and was waited for long enough' % obj.NODE, 1)


def test_change_after_one_that_changes_no_rule(lab):
    """What the agent measures itself begins with the change, not with a taint before it."""
    def measured():
        return float(re.search(r'^proxylet_change_duration_seconds_sum\{ip_family="IPv4"\} (\S+)', agent.get("/metrics", 10249)[2], re.M)[1])

    server = one_service(lab)
    agent = run(lab, server, metricsBindAddress="127.0.0.1:10249").ready()
    change(lab, server, "10.244.2.3")
    server.put(obj.node(taints=["ToBeDeletedByClusterAutoscaler"]))
    wait(lambda: agent.get()[0] == 503, "503 of a tainted node")
    time.sleep(1)  # what a taint that still counts would add
    before, began = measured(), time.time()
    change(lab, server, "10.244.2.4")
    wait(lambda: measured() > before, "it is measured")
    took, limit = measured() - before, time.time() - began
    check(took < limit + 0.5, "%g s, of %g s that passed", took, limit)


def test_no_service_cidrs(lab):
    for quirk in ("missing", "forbidden"):
        server = one_service(lab)
        if quirk == "missing":
            server.quirks.missing = {"servicecidrs"}
        else:
            server.quirks.refuse = [Refusal(403, name="servicecidrs")]
        agent = run(lab, server).ready()
        holds(lab, "10.244.2.2")
        said(agent, "servicecidrs: 40[34]: .*; going on without", 1)
        said(agent, "(warn|error) (?!agent: no socket of the earlier agent)", 0)
        agent.stop()


def test_forbidden(lab):
    server = one_service(lab)
    server.quirks.refuse = [Refusal(403, name="services", body=status_body(403, 'services is forbidden: User "x" cannot list'))]
    agent = run(lab, server)
    waits_for(agent, 'services: 403: services is forbidden: User "x" cannot list')
    time.sleep(2)
    said(agent, "services: 403: ", 1)
    server.quirks.refuse = []
    agent.ready()


def test_begins_without_its_roles(lab):
    """A server that was restarted and does not know what we may: all is refused for a while, and then as before."""
    server = one_service(lab)
    agent = run(lab, server).ready()
    before = nft.generation(lab.node)
    server.stop()
    server.forget()
    server.quirks.refuse = [Refusal(403, name=n, times=1, body=status_body(403, "%s is forbidden" % n)) for n in COLLECTIONS]
    server.start()
    wait(lambda: all(server.watching(n) for n in COLLECTIONS), "the watches")
    equal(nft.generation(lab.node), before, "generation id")
    equal(agent.get()[0], 200, "health")
    change(lab, server, "10.244.2.3")
    equal(len(server.asked("services", limit="500")), 0, "lists in pages")
    for name in COLLECTIONS:
        check(len(said(agent, "error api: %s: 403: %s is forbidden" % (name, name))) <= 1, "more than one line about %s", name)


def test_no_json(lab):
    server = one_service(lab)
    server.quirks.refuse = [Refusal(200, name="services", body="<html>welcome</html>", content_type="text/html", times=1)]
    agent = run(lab, server).ready()
    said(agent, 'services: the answer is "text/html", neither JSON nor protobuf', 1)
    server.quirks.refuse = [Refusal(200, name="services", body="{]")]
    server.quirks.stream = 400
    server.forget()
    server.cut()
    waits_for(agent, "services: line 1: ")
    server.quirks.refuse = []
    change(lab, server, "10.244.2.3")


def test_garbage_in_a_watch(lab):
    server = one_service(lab)
    agent = run(lab, server).ready()
    before = nft.generation(lab.node)
    for garbage in (b"}{\n", b'{"type":"MODIFIED"}\n', event("ADDED", obj.node())):
        before_it = server.watching("services")
        server.inject("services", garbage)
        # The server keeps the stream that we gave up until it writes to it again: only a new one counts.
        wait(lambda: set(server.watching("services")) - set(before_it), "another list after %r" % garbage)
    equal(nft.generation(lab.node), before, "generation id")
    server.inject("services", event("NEWTYPE", {}) + b"\n\n")
    server.put(obj.service("two", "10.96.0.11"))
    wait(lambda: "10.96.0.11" in json.dumps(nft.listing(lab.node)), "the next event")
    equal(agent.get()[0], 200, "health")


def test_endless_line(lab):
    server = one_service(lab)
    agent = run(lab, server).ready()
    huge = b'{"type":"ADDED","object":{"x":"' + b"x" * (300 << 20) + b'"}}\n'
    server.quirks.raw = {"services": huge + event("ADDED", obj.service("two", "10.96.0.11")) + event(
        "BOOKMARK", {"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}})}
    server.forget()
    server.cut()
    wait(lambda: "10.96.0.11" in json.dumps(nft.listing(lab.node)), "what comes after the line", every=0.1)
    said(agent, "services: an event of more than 16 MiB; skipped", 1)
    holds(lab, "10.244.2.2")
    with open("/proc/%d/status" % agent.pid) as f:
        peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
    check(peak < 80 << 10, "peak memory %d kB", peak)
    server.quirks.raw = {}
    change(lab, server, "10.244.2.3")


def test_object_that_does_not_decode(lab):
    server = one_service(lab)
    agent = run(lab, server).ready()
    bad = obj.service("web", IP, port=81)
    bad["spec"]["ports"][0]["port"] = "eighty"
    server.put(bad, obj.service("two", "10.96.0.11"), obj.slice_of("two", ["10.244.2.4"]))
    holds(lab, "10.244.2.4", ip="10.96.0.11")
    holds(lab, "10.244.2.2")
    said(agent, r"Service default/web: spec.ports\[0\].port: .*; its last good form stays", 1)
    server.forget()
    server.cut()
    change(lab, server, "10.244.2.3")
    said(agent, "Service default/web", 1)
    server.put(obj.service("web", IP))
    server.delete(obj.service("web", IP))
    holds(lab)


def test_object_without_a_name(lab):
    """Which one it is cannot be known: of those that the list leaves out, none is removed."""
    server = one_service(lab)
    agent = run(lab, server).ready()
    nameless = server.objects["services"].pop(("default", "web"))
    nameless["metadata"]["name"] = 5
    server.put(nameless)
    waits_for(agent, "Service: metadata.name: 5: must be a string")
    server.forget()
    server.cut()
    wait(lambda: len(server.asked("services", sendInitialEvents="true")) == 2 and server.watching("services"), "another list")
    change(lab, server, "10.244.2.3")


def test_odd_annotation(lab):
    """Whoever may edit one object may write there what has no form in C: nothing else waits for it."""
    server, odd = one_service(lab), obj.service("odd", "10.96.0.12")
    odd["metadata"]["annotations"] = {"note": "nothing \x00"}
    server.put(odd, obj.slice_of("odd", ["10.244.2.4"]))
    server.quirks.stream = 400
    agent = run(lab, server).ready()
    holds(lab, "10.244.2.4", ip="10.96.0.12")
    server.put(odd, obj.service("two", "10.96.0.11"), obj.slice_of("two", ["10.244.2.5"]))
    holds(lab, "10.244.2.5", ip="10.96.0.11")
    equal(len(server.asked("services", limit="500")), 1, "lists")
    said(agent, "warn|error", 0)


def test_duplicates_and_late_events(lab):
    server = one_service(lab)
    run(lab, server).ready()
    old = server.objects["endpointslices"]["default", "web-x"]
    change(lab, server, "10.244.2.3")
    new = server.objects["endpointslices"]["default", "web-x"]
    before = nft.generation(lab.node)
    server.inject("endpointslices", event("MODIFIED", new) * 3 + event("MODIFIED", old) + event("DELETED", old))
    server.put(obj.service("two", "10.96.0.11"), obj.slice_of("two", ["10.244.2.4"]))
    holds(lab, "10.244.2.4", ip="10.96.0.11")
    holds(lab, "10.244.2.3")
    check(nft.generation(lab.node) - before <= 2, "%d commits", nft.generation(lab.node) - before)


def test_recorded_streams(lab):
    """What a real server sent: the same rules as from files with what is left at the end."""
    server = lab.serve(ApiServer(lab.node))
    left = []
    for name in ("services", "endpointslices", "nodes"):
        path = os.path.join(DATA, name + ".watchlist.jsonl")
        data = open(path, "rb").read() if os.path.exists(path) else gzip.open(path + ".gz").read()
        server.quirks.raw[name] = data
        state = {}
        for e in map(json.loads, data.splitlines()):
            meta = e["object"]["metadata"]
            if e["type"] == "DELETED":
                del state[meta.get("namespace"), meta["name"]]
            elif e["type"] != "BOOKMARK":
                state[meta.get("namespace"), meta["name"]] = e["object"]
        left += state.values()
    agent = run(lab, server, hostnameOverride="node1").ready()
    bare = lab.bare_node()
    lab.run(bare, paths=lab.put("left.json", *left), hostnameOverride="node1").ready()
    for family in ("ip", "ip6"):
        want = nft.listing(bare, family)
        check(want["set svc"]["elem"], "no Services in %s", family)
        wait(lambda: nft.meaning_difference(nft.listing(lab.node, family), want) == "", "the same rules in %s" % family, every=0.1)
    said(agent, "does not decode|last good form|skipped", 0)


def test_status(lab):
    server = one_service(lab)
    server.quirks.refuse = [Refusal(403, name="services", body=status_body(403, "services is forbidden"))]
    agent = run(lab, server)

    def rows():
        return {r["name"]: r for r in json.loads(agent.status("-o", "json").stdout or '{"sources": []}')["sources"]}

    wait(lambda: rows().get("services", {}).get("problem"), "the problem", every=0.05)
    equal(rows()["services"]["problem"], "403: services is forbidden", "problem")
    server.quirks.refuse = []
    agent.ready()
    wait(lambda: [r["live"] for r in rows().values()] == [True] * 4, "four watches", every=0.05)
    equal({n: r["objects"] for n, r in rows().items()}, {"services": 1, "endpointslices": 1, "nodes": 1, "servicecidrs": 0}, "objects")
    equal([r["problem"] for r in rows().values() if r.get("problem")], [], "problems")

    def watched():
        return set(re.findall(r'^proxylet_source_live{source="(\w+)"} 1$', agent.get("/metrics", 10249)[2], re.M))
    equal(watched(), set(rows()), "sources that are live in /metrics")
    server.quirks.refuse = [Refusal(403, name="services", body=status_body(403, "services is forbidden"))]
    server.end_watches()
    wait(lambda: watched() == set(rows()) - {"services"}, "one that is refused is not live any more", every=0.05)


if __name__ == "__main__":
    harness.main(globals())
