#!/usr/bin/env python3
"""The agent and an API server that talk protobuf, as real ones do."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
from apiserver import ApiServer, Refusal, kubeconfig, status_body
from harness import check, equal, wait

IP = "10.96.0.10"


def serve(lab, *items):
    server = lab.serve(ApiServer(lab.node, obj.node(), obj.service("web", IP), obj.slice_of("web", ["10.244.2.2"]), *items))
    server.quirks.protobuf = True
    return server


def run(lab, server, **client):
    path = kubeconfig(lab.folder, server.url)
    agent = labs.Agent(lab, lab.node, [], (), clientConnection=dict({"kubeconfig": path}, **client), logging={"verbosity": 4})
    lab.agents.append(agent)
    return agent


def holds(lab, *endpoints, ip=IP):
    wait(lambda: nft.endpoints(lab.node, ip, 80) == set(endpoints), "%s has the endpoints %s" % (ip, endpoints), every=0.02)


def accepts(server):
    return {name: headers["accept"] for name, _, headers, _ in server.requests}


def follows(lab, server):
    holds(lab, "10.244.2.2")
    server.put(obj.slice_of("web", ["10.244.2.3", "10.244.2.4"]))
    holds(lab, "10.244.2.3", "10.244.2.4")
    server.put(obj.service("two", "10.96.0.11"), obj.slice_of("two", ["10.244.2.5"]))
    holds(lab, "10.244.2.5", ip="10.96.0.11")
    server.delete(obj.service("two", "10.96.0.11"))
    holds(lab, ip="10.96.0.11")


def test_follows(lab):
    server = serve(lab)
    run(lab, server).ready()
    equal(accepts(server)["services"], "application/vnd.kubernetes.protobuf;stream=watch, application/json", "Accept")
    follows(lab, server)


def test_split_at_every_byte(lab):
    server = serve(lab)
    server.quirks.split = True
    run(lab, server).ready()
    follows(lab, server)


def test_pages(lab):
    server = serve(lab, *(obj.service("s%03d" % i, "10.96.1.%d" % i) for i in range(1, 250)),
                   *(obj.service("t%03d" % i, "10.96.2.%d" % i) for i in range(1, 254)))
    server.quirks.stream = 422
    run(lab, server).ready()
    equal(len(server.asked("services", limit="500")), 2, "pages of Services")
    equal(server.asked("services", limit="500")[0][2]["accept"], "application/vnd.kubernetes.protobuf, application/json", "Accept")
    holds(lab, "10.244.2.2")
    check("10.96.2.253" in nft.run(lab.node, "list", "map", "ip", "proxylet", "svc").stdout, "the last Service of the second page")


def odd_annotation(lab, stream):
    """Text that is no UTF-8, in what nobody reads: nothing else waits for it."""
    odd = obj.service("odd", "10.96.0.12")
    odd["metadata"]["annotations"] = {"note": "cut \udcc3"}
    server = serve(lab, odd, obj.slice_of("odd", ["10.244.2.9"]))
    server.quirks.stream = stream
    agent = run(lab, server).ready()
    holds(lab, "10.244.2.9", ip="10.96.0.12")
    server.put(odd)
    follows(lab, server)
    check(" warn " not in agent.log(), "warnings in %s", agent.log())


def test_odd_annotation_in_a_stream(lab):
    odd_annotation(lab, "ok")


def test_odd_annotation_in_pages(lab):
    odd_annotation(lab, 422)


def test_410_as_event(lab):
    server = serve(lab)
    agent = run(lab, server).ready()
    server.forget()
    server.cut()
    server.put(obj.slice_of("web", ["10.244.2.9"]))
    holds(lab, "10.244.2.9")
    check("error" not in agent.log(), "errors in %s", agent.log())


def test_refusal_names_the_reason(lab):
    server = serve(lab)
    server.quirks.refuse = [Refusal(403, name="services", body=status_body(403, 'services is forbidden: User "x" cannot list'))]
    agent = run(lab, server)
    wait(lambda: 'services is forbidden: User "x" cannot list' in agent.log(), "the server's message", every=0.02)


def test_json_when_configured(lab):
    server = serve(lab)
    run(lab, server, contentType="application/json").ready()
    equal(set(accepts(server).values()), {"application/json"}, "Accept")
    follows(lab, server)


if __name__ == "__main__":
    harness.main(globals())
