"""Another proxy: rules of the shape kube-proxy's have, in its three homes, and what shows that one lives.

Small on purpose: one Service with a node port and two endpoints, and one without endpoints.
"""
import http.server
import os
import shutil
import socket
import subprocess
import threading

FORMS = ("nftables", "iptables-nft", "iptables-legacy")
VIP, PORT, NODE_PORT, EMPTY_VIP = "10.96.0.10", 80, 30080, "10.96.0.99"
PODS = ("10.244.2.2", "10.244.2.3")
KUBELET = ("KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT")

NFTABLES = """
table ip kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips { type ipv4_addr; elements = { %(vip)s, %(empty)s } }
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { %(vip)s . tcp . %(port)d : goto service-X/default/web/tcp/p }
	}
	map service-nodeports {
		type inet_proto . inet_service : verdict
		elements = { tcp . %(node_port)d : goto external-X/default/web/tcp/p }
	}
	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { %(empty)s . tcp . %(port)d : goto reject-chain }
	}
	chain reject-chain { reject; }
	chain service-X/default/web/tcp/p {
		meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : %(pod0)s . 8080, 1 : %(pod1)s . 8080 }
	}
	chain external-X/default/web/tcp/p { meta mark set meta mark or 0x4000; goto service-X/default/web/tcp/p; }
	chain services {
		ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark or 0x4000
		ip daddr . meta l4proto . th dport vmap @service-ips
		fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
	}
	chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain cluster-ips-check { ip daddr @cluster-ips reject; }
	chain masquerading { meta mark & 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random; }
	chain filter-input { type filter hook input priority 0; ct state new jump service-endpoints-check; }
	chain filter-forward {
		type filter hook forward priority 0
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain filter-output {
		type filter hook output priority 0
		ct state new jump service-endpoints-check
		ct state new jump cluster-ips-check
	}
	chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
	chain nat-output { type nat hook output priority -100; jump services; }
	chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
}
table ip6 kube-proxy { comment "rules for kube-proxy"; chain services { } ; }
"""

MANGLE = """*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
"""

IPTABLES = MANGLE + """*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -s 127.0.0.0/8 ! -d 127.0.0.0/8 -m comment --comment "block -j incoming \\"localnet\\" connections" -j DROP
-A KUBE-SERVICES -d %(empty)s/32 -p tcp -m comment --comment "default/none:p has no endpoints" -m tcp --dport %(port)d -j REJECT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:KUBE-EXT-X - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-0 - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-X - [0:0]
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-EXT-X -m comment --comment "masquerade traffic for default/web:p external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-X -j KUBE-SVC-X
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web:p" -m tcp --dport %(node_port)d -j KUBE-EXT-X
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SEP-0 -p tcp -m comment --comment "default/web:p" -m tcp -j DNAT --to-destination %(pod0)s:8080
-A KUBE-SEP-1 -p tcp -m comment --comment "default/web:p" -m tcp -j DNAT --to-destination %(pod1)s:8080
-A KUBE-SERVICES -d %(vip)s/32 -p tcp -m comment --comment "default/web:p cluster IP" -m tcp --dport %(port)d -j KUBE-SVC-X
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-X ! -s 10.244.0.0/16 -d %(vip)s/32 -p tcp -m comment --comment "default/web:p cluster IP" -m tcp --dport %(port)d -j KUBE-MARK-MASQ
-A KUBE-SVC-X -m comment --comment "default/web:p" -m statistic --mode random --probability 0.5 -j KUBE-SEP-0
-A KUBE-SVC-X -m comment --comment "default/web:p" -j KUBE-SEP-1
COMMIT
"""


def run(ns, *argv, text=None):
    with ns:
        p = subprocess.run(argv, input=text, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stderr.strip()))
    return p.stdout


def load(ns, form):
    """Its rules, once."""
    values = dict(vip=VIP, empty=EMPTY_VIP, port=PORT, node_port=NODE_PORT, pod0=PODS[0], pod1=PODS[1])
    if form == "nftables":
        run(ns, "nft", "-f", "-", text=NFTABLES % values)
    else:
        # -w: the old way's lock is one file for all namespaces
        run(ns, form + "-restore", "--noflush", "-w", text=IPTABLES % values)
        run(ns, form.replace("ip", "ip6", 1) + "-restore", "--noflush", "-w", text=MANGLE)


def chains(ns, form):
    """Names of all KUBE-* chains, or tables, that are there."""
    if form == "nftables":
        return {line for line in run(ns, "nft", "list", "tables").splitlines() if line.endswith(" kube-proxy")}
    text = run(ns, form + "-save") + run(ns, form.replace("ip", "ip6", 1) + "-save")
    return {line[1:].split()[0] for line in text.splitlines() if line.startswith(":KUBE-")}


def left(ns, form):
    """What is left of kube-proxy's own."""
    return chains(ns, form) - set(KUBELET)


class Process:
    """A process of that name in that namespace."""

    def __init__(self, lab, ns):
        path = os.path.join(lab.folder, "kube-proxy")
        if not os.path.exists(path):
            os.symlink(shutil.which("sleep"), path)
        with ns:
            self.process = subprocess.Popen([path, "1000"])
        lab.serve(self)

    def close(self):
        self.process.kill()
        self.process.wait()


class Port:
    """Its metrics port: says its mode."""

    def __init__(self, lab, ns, port=10249):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = b"iptables"
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.HTTPServer):
            address_family = socket.AF_INET

        with ns:
            self.server = Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        self.open = True
        lab.serve(self)

    def close(self):
        if self.open:
            self.server.shutdown()
            self.server.server_close()
            self.open = False
