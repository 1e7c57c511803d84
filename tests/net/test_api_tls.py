#!/usr/bin/env python3
"""How the agent gets to the API server: TLS, credentials, HTTP/2, several servers, servers that are stuck."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import harness
import lab as labs
import nft
import objects as obj
from apiserver import ApiServer, Authority, Front, event, kubeconfig
from harness import Skip, check, equal, wait
from webproxy import WebProxy

IP = "10.96.0.10"
ITEMS = (obj.node(), obj.service("web", IP), obj.slice_of("web", ["10.244.2.2"]))


def run(lab, server, cluster=None, user=None, before=(), ns=None, **config):
    name = "kubeconfig-%d" % len(lab.agents)
    path = kubeconfig(lab.folder, server if isinstance(server, str) else server.url, cluster, user, name)
    return start(lab, before, ns, clientConnection={"kubeconfig": path}, **config)


def start(lab, before=(), ns=None, **config):
    agent = labs.Agent(lab, ns or lab.node, [], before, **config)
    lab.agents.append(agent)
    return agent


def holds(lab, *endpoints, seconds=harness.DEADLINE):
    wait(lambda: nft.endpoints(lab.node, IP, 80) == set(endpoints), "endpoints %s" % (endpoints,), seconds, 0.02)


def change(lab, server, endpoint):
    server.put(obj.slice_of("web", [endpoint]))
    holds(lab, endpoint)


def waits_for(agent, pattern, seconds=harness.DEADLINE):
    wait(lambda: re.search(pattern, agent.log()), "a line with %r" % pattern, seconds, 0.02)


def lines(agent, pattern):
    return len(re.findall(pattern, agent.log()))


def write(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)
    return path


def read(path):
    with open(path) as f:
        return f.read()


def tls_server(lab, ca, clients=None, tokens=None, **issue):
    cert, key = ca.issue("server", **issue)
    return lab.serve(ApiServer(lab.node, *ITEMS, tls=ca.context(cert, key, clients), tokens=tokens))


# --- TLS ---

def test_own_authority(lab):
    ca = Authority(lab.folder, "ca")
    server = tls_server(lab, ca)
    run(lab, server, {"certificate-authority": "ca.crt"}).ready()  # relative to the kubeconfig
    change(lab, server, "10.244.2.3")


def test_client_certificate(lab):
    ca, people = Authority(lab.folder, "ca"), Authority(lab.folder, "people")
    server = tls_server(lab, ca, clients=people)
    cert, key = people.issue("kube-proxy", subject="/CN=system:kube-proxy")
    agent = run(lab, server, {"certificate-authority": ca.cert})
    waits_for(agent, "alert|handshake|SSL")
    check(agent.get()[0] != 200, "ready without a certificate")
    agent.stop()
    run(lab, server, {"certificate-authority": ca.cert}, {"client-certificate": cert, "client-key": key}).ready()
    change(lab, server, "10.244.2.3")


def test_wrong_authority(lab):
    server = tls_server(lab, Authority(lab.folder, "ca"))
    other = Authority(lab.folder, "other")
    agent = run(lab, server, {"certificate-authority": other.cert})
    waits_for(agent, r"warn api: https://127.0.0.1:\d+: .*certificate problem")
    time.sleep(2)
    equal(lines(agent, "warn"), 1, "warnings")
    equal(server.requests, [], "requests")
    # the file is put right, and is read again
    write(other.cert, read(lab.folder + "/ca.crt"))
    agent.ready()


def test_system_authorities_do_not_count_beside_our_own(lab):
    """What /etc/ssl/certs trusts is not trusted when the kubeconfig names an authority."""
    ca, other = Authority(lab.folder, "ca"), Authority(lab.folder, "other")
    server = tls_server(lab, ca)
    script = 'set -e; mount --make-rprivate /; mount -t tmpfs none /etc/ssl/certs; cp "$0" /etc/ssl/certs/ca-certificates.crt; ' \
             'cp "$0" "/etc/ssl/certs/$(openssl x509 -in "$0" -noout -hash).0"; exec "$@"'
    before = ["unshare", "-m", "sh", "-c", script, ca.cert]
    agent = run(lab, server, before=before).ready()
    agent.stop()
    agent = run(lab, server, {"certificate-authority": other.cert}, before=before)
    waits_for(agent, "certificate problem")


def test_expired_certificate(lab):
    ca = Authority(lab.folder, "ca")
    agent = run(lab, tls_server(lab, ca, days=-1), {"certificate-authority": ca.cert})
    waits_for(agent, "warn api: https://.*certificate has expired")


def test_name_in_the_certificate(lab):
    ca = Authority(lab.folder, "ca")
    server = tls_server(lab, ca, alt="DNS:kubernetes.example")
    agent = run(lab, server, {"certificate-authority": ca.cert})
    waits_for(agent, "warn api: .*no alternative certificate subject name matches")
    agent.stop()
    run(lab, server, {"certificate-authority": ca.cert, "tls-server-name": "kubernetes.example"}).ready()
    equal(server.requests[-1][2]["host"], "127.0.0.1:%d" % server.address[1], "Host")
    change(lab, server, "10.244.2.3")


def test_insecure(lab):
    run(lab, tls_server(lab, Authority(lab.folder, "ca")), {"insecure-skip-tls-verify": True}).ready()


# --- credentials ---

def test_wrong_token(lab):
    server = lab.serve(ApiServer(lab.node, *ITEMS, tokens=["right"]))
    agent = run(lab, server, user={"token": "wrong"})
    waits_for(agent, "error api: the API server refuses our credentials: 401: Unauthorized")
    time.sleep(2)
    equal(lines(agent, "error|warn"), 1, "lines")
    check("wrong" not in agent.log(), "the token is in the log")


def test_token_is_rotated(lab):
    server = lab.serve(ApiServer(lab.node, *ITEMS, tokens=["one"]))
    path = write(os.path.join(lab.folder, "token"), "one\n")
    agent = run(lab, server, user={"tokenFile": "token"}).ready()
    time.sleep(1.1)
    write(path, "two\n")
    server.tokens = ["two"]
    server.cut()
    change(lab, server, "10.244.2.3")
    equal(lines(agent, r"\b401\b"), 0, "401 in the log")
    time.sleep(1.1)
    server.tokens = ["three"]  # revoked before the new one is in place
    server.cut()
    waits_for(agent, "401: Unauthorized")
    write(path, "three\n")
    change(lab, server, "10.244.2.4")


def in_cluster(lab, server, ca, token, host="127.0.0.1"):
    """As a pod sees it: two variables, and a folder that only the agent has."""
    script = 'set -e; mount --make-rprivate /; mount -t tmpfs none /run; d=/run/secrets/kubernetes.io/serviceaccount; mkdir -p $d; ' \
             'ln -s "$0/token" "$0/ca.crt" $d/; mkdir -p /run/lock; [ /var/run -ef /run ] || mount --bind /run /var/run; exec "$@"'
    account = os.path.join(lab.folder, "account")
    os.makedirs(account, exist_ok=True)
    write(account + "/token", token)
    shutil.copy(ca.cert, account + "/ca.crt")
    before = ["unshare", "-m", "env", "KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=%d" % server.address[1],
              "sh", "-c", script, account]
    return start(lab, before)


def test_in_cluster(lab):
    ca = Authority(lab.folder, "ca")
    server = tls_server(lab, ca, tokens=["abc"])
    in_cluster(lab, server, ca, "abc").ready()
    change(lab, server, "10.244.2.3")
    time.sleep(1.1)
    server.tokens = ["def"]
    write(lab.folder + "/account/token", "def")
    server.cut()
    change(lab, server, "10.244.2.4")


def test_in_cluster_over_ipv6(lab):
    ca = Authority(lab.folder, "ca")
    cert, key = ca.issue("server", alt="IP:::1")
    server = lab.serve(ApiServer(lab.node, *ITEMS, address="::1", tls=ca.context(cert, key)))
    in_cluster(lab, server, ca, "abc", "::1").ready()
    equal(server.requests[0][2]["authorization"], "Bearer abc", "token")


def test_no_way_to_a_server(lab):
    """Nothing given: one clear line, and it ends."""
    agent = start(lab)
    equal(agent.end(), 3, "exit status")
    waits_for(agent, "error agent: no kubeconfig is given, and this is no pod with a service account")
    agent = start(lab, clientConnection={"kubeconfig": "/nonexistent"})
    equal(agent.end(), 3, "exit status")
    waits_for(agent, "error agent: kubeconfig /nonexistent: .*No such file")


def test_flags(lab):
    server = lab.serve(ApiServer(lab.node, *ITEMS))
    wrong = kubeconfig(lab.folder, "http://127.0.0.1:1")
    for flags in (["--kubeconfig", kubeconfig(lab.folder, server.url, name="right")], ["--master", server.url],
                  ["--kubeconfig", wrong, "--master", server.url]):
        with lab.node:
            p = subprocess.Popen([lab.agent, "run", "--hostname-override", obj.NODE, "--socket", lab.folder + "/sock", *flags],
                                 stderr=subprocess.PIPE, text=True)
        try:
            with lab.node:
                wait(lambda: obj.http_get("127.0.0.1", 10256)[0] == 200, "ready with %s" % flags)
        finally:
            p.terminate()
            p.communicate(timeout=60)


# --- servers ---

def test_next_server(lab):
    """Several servers, one after the other: the first that answers is used until it does not."""
    first, second = (lab.serve(ApiServer(lab.node, *ITEMS)) for _ in range(2))
    agent = run(lab, "http://127.0.0.1:1", proxylet={"apiServers": ["http://127.0.0.1:1", first.url, second.url]}).ready()
    equal(len(second.requests), 0, "requests to the second")
    second.version = first.version + 100
    before = nft.generation(lab.node)
    time.sleep(1.1)
    first.stop()
    wait(lambda: second.watching("endpointslices"), "a watch at the second")
    equal(nft.generation(lab.node), before, "generation id")
    change(lab, second, "10.244.2.3")
    equal(agent.get()[0], 200, "health")


# --- proxies ---

def through(lab, server, ca, cluster=None, environment=()):
    """The first Service arrives, and a change."""
    agent = run(lab, server, dict({"certificate-authority": ca.cert}, **(cluster or {})), before=["env", *environment]).ready()
    change(lab, server, "10.244.2.%d" % (3 + len(lab.agents)))
    agent.stop()


def test_proxies(lab):
    """That of the kubeconfig, else that of the environment; NO_PROXY is about the latter."""
    ca = Authority(lab.folder, "ca")
    cert, key = ca.issue("server", alt="IP:" + labs.NODE_IP)
    server = lab.serve(ApiServer(lab.node, *ITEMS, address=labs.NODE_IP, tls=ca.context(cert, key)))
    proxy, other = (lab.serve(WebProxy(lab.node)) for _ in range(2))
    http, name = "http://127.0.0.1:%d" % proxy.port, "%s:%d" % server.address
    through(lab, server, ca, {"proxy-url": http}, ["HTTPS_PROXY=http://127.0.0.1:%d" % other.port, "NO_PROXY=*"])
    equal(set(proxy.asked), {"http " + name}, "asked of the kubeconfig's proxy")
    through(lab, server, ca, {"proxy-url": http.replace("http", "socks5")})
    equal(set(proxy.asked), {"http " + name, "socks " + name}, "asked in SOCKS")
    proxy.asked = []
    through(lab, server, ca, environment=["HTTPS_PROXY=" + http, "NO_PROXY=10.0.0.0/8,.example"])
    equal(set(proxy.asked), {"http " + name}, "asked of the environment's")
    proxy.asked = []
    through(lab, server, ca, environment=["HTTPS_PROXY=" + http, "NO_PROXY=192.0.2.0/24"])
    through(lab, server, ca, environment=["HTTP_PROXY=" + http, "ALL_PROXY=" + http])
    equal(proxy.asked + other.asked, [], "asked although it is an exception, or for other schemes")


def test_proxy_that_does_not_work(lab):
    ca = Authority(lab.folder, "ca")
    server = tls_server(lab, ca)
    proxy = lab.serve(WebProxy(lab.node, refuse=403))
    agent = run(lab, server, {"certificate-authority": ca.cert, "proxy-url": "http://127.0.0.1:%d" % proxy.port})
    waits_for(agent, "warn api: https://127.0.0.1:.* CONNECT tunnel failed, response 403")
    agent.stop()
    agent = run(lab, server, {"certificate-authority": ca.cert, "proxy-url": "http://127.0.0.1:1"})
    waits_for(agent, "warn api: https://127.0.0.1:.*: the way through the proxy: Connection refused")
    equal(server.requests, [], "requests")


# --- HTTP/2 ---

def front(lab, server, port=8443, shows=False):
    if not Front.is_installed():
        raise Skip("nghttpx is not installed (Debian package nghttp2-proxy)")
    ca = Authority(lab.folder, "ca-%d" % port)
    cert, key = ca.issue("front-%d" % port)
    proxy = lab.serve(Front(lab, server, cert, key, port, shows))
    wait(lambda: listens(server.ns, port), "nghttpx listens")
    return proxy, ca


def listens(ns, port):
    return ":%d" % port in ns.sh("ss", "-Hltn")


def connections(ns, port):
    """Our ends of them."""
    return {line.split()[2] for line in ns.sh("ss", "-Htn", "state", "established", "dport", "=", ":%d" % port).splitlines()}


def test_http2(lab):
    server = lab.serve(ApiServer(lab.node, *ITEMS, tokens=["abc"]))
    proxy, ca = front(lab, server)
    run(lab, proxy.url, {"certificate-authority": ca.cert}, {"token": "abc"}).ready()
    wait(lambda: len(server.watches) == 4, "four watches")
    wait(lambda: len(connections(lab.node, proxy.port)) == 1, "one connection to the server")
    check(server.requests[0][2]["x-forwarded-proto"] == "https", "not through nghttpx: %s", server.requests[0])
    change(lab, server, "10.244.2.3")
    time.sleep(1.1)
    proxy.close()  # all streams at once
    proxy.start()
    wait(lambda: listens(lab.node, proxy.port), "nghttpx listens again")
    change(lab, server, "10.244.2.4")
    wait(lambda: len(connections(lab.node, proxy.port)) == 1, "one connection again")
    server.stop()  # behind the proxy: 502 for every stream
    time.sleep(2)
    holds(lab, "10.244.2.4")
    server.start()
    change(lab, server, "10.244.2.5")
    wait(lambda: len(connections(lab.node, proxy.port)) == 1, "one connection at the end")


def test_stuck_server_http2(lab):
    """The kernel of the stuck server still acknowledges everything. The next one is used within 30 s (and a busy machine's 15)."""
    server = lab.serve(ApiServer(lab.node, *ITEMS))
    stuck, ca = front(lab, server)
    agent = run(lab, stuck.url, {"certificate-authority": ca.cert}, proxylet={"apiServers": [stuck.url, server.url]}).ready()
    wait(lambda: len(connections(lab.node, stuck.port)) == 1, "HTTP/2")
    before = nft.generation(lab.node)
    stuck.signal(signal.SIGSTOP)
    server.put(obj.slice_of("web", ["10.244.2.3"]))
    began = time.monotonic()
    waits_for(agent, "warn api: .* gives no sign of life")
    holds(lab, "10.244.2.3")
    check(time.monotonic() - began < 45, "it took %.1f s", time.monotonic() - began)
    check(nft.generation(lab.node) - before == 1, "%d commits", nft.generation(lab.node) - before)


def test_silent_watches(lab):
    """Streams that something on the way has forgotten, while everything else is answered: without HTTP/2, and behind a proxy.

    Meanwhile, as it takes as long: a connection on which nothing is ever answered is not kept, the next may lead elsewhere."""
    plain = lab.serve(ApiServer(lab.bare_node(), *ITEMS))
    behind = lab.serve(ApiServer(lab.node, *ITEMS))
    mute = lab.serve(ApiServer(lab.bare_node()))
    mute.server.shutdown()  # connections are still accepted
    door, ca = front(lab, mute, port=8444)
    run(lab, door.url, {"certificate-authority": ca.cert}, ns=mute.ns)
    wait(lambda: connections(mute.ns, door.port), "HTTP/2")
    first = connections(mute.ns, door.port)
    proxy, ca = front(lab, behind, shows=True)
    agents = [run(lab, proxy.url, {"certificate-authority": ca.cert}), run(lab, plain, ns=plain.ns)]
    for server, agent in zip((behind, plain), agents):
        agent.ready()
        wait(lambda s=server: len(s.watches) == 4, "four watches")
        with server.lock:
            server.watches = []  # nobody will tell these streams anything
        server.put(obj.slice_of("web", ["10.244.2.3"]))
    began = time.monotonic()
    for server, agent in zip((behind, plain), agents):
        wait(lambda s=server: nft.endpoints(s.ns, IP, 80) == {"10.244.2.3"}, "the change", every=0.05)
        check(time.monotonic() - began < 45, "it took %.1f s", time.monotonic() - began)  # 30 are meant, and a busy machine's 15
        equal(lines(agent, "warn|error"), 0, "lines")
    wait(lambda: connections(mute.ns, door.port) - first, "another connection", every=0.05)


if os.environ.get("SLOW"):
    def test_bookmarks_that_stop(lab):
        """A proxy that does not show itself eats the streams: noticed by what should have come every minute."""
        server = lab.serve(ApiServer(lab.node, *ITEMS))
        proxy, ca = front(lab, server)
        run(lab, proxy.url, {"certificate-authority": ca.cert}).ready()
        wait(lambda: len(server.watches) == 4, "four watches")
        server.inject("endpointslices", event("BOOKMARK", {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                                                           "metadata": {"resourceVersion": str(server.version)}}))
        time.sleep(1)
        with server.lock:
            server.watches = []
        server.put(obj.slice_of("web", ["10.244.2.3"]))
        began = time.monotonic()
        holds(lab, "10.244.2.3", seconds=95)
        check(time.monotonic() - began > 80, "noticed after %g s", time.monotonic() - began)


if __name__ == "__main__":
    harness.main(globals())
