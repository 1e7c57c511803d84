#!/bin/sh
# Brings up a kind cluster whose Services proxylet provides, and tries them:
#
#     deploy/kind/up.sh           docker, kind and kubectl are needed
#     deploy/kind/up.sh down      removes the cluster
#
# Exit status: 0 it works, 1 something does not, 2 a tool is missing.
set -eu
cd "$(dirname "$0")/../.."
cluster=proxylet
image=proxylet:0.1.0
context=kind-$cluster

need() {
	command -v "$1" >/dev/null || { echo "up.sh: $1 is missing" >&2; exit 2; }
}

kube() {
	kubectl --context "$context" "$@"
}

# try WHAT COMMAND...: within a minute.
try() {
	what=$1 n=0
	shift
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 60 ] || { echo "FAIL $what: $*" >&2; return 1; }
		sleep 1
	done
	echo "ok $what"
}

# on NODE PATH...: curl, which the nodes have, asks from there.
on() {
	node=$1
	shift
	docker exec "$node" curl -fsSk --max-time 2 "$@"
}

for tool in docker kind kubectl; do
	need $tool
done
if [ "${1-}" = down ]; then
	exec kind delete cluster --name "$cluster"
fi
docker info >/dev/null 2>&1 || { echo "up.sh: docker is there, but its daemon does not answer" >&2; exit 2; }

echo "== image"
docker build -t "$image" -f deploy/Dockerfile .
echo "== cluster"
kind get clusters 2>/dev/null | grep -qx "$cluster" || kind create cluster --config deploy/kind/cluster.yaml
kind load docker-image --name "$cluster" "$image"
echo "== proxylet"
kube apply -k deploy/kind
# An image of the same tag is no change that the DaemonSet could see.
kube -n kube-system rollout restart daemonset/proxylet
kube -n kube-system rollout status daemonset/proxylet --timeout=180s
kube wait --for=condition=Ready nodes --all --timeout=180s

echo "== Services"
# DNS starts only once its pods reach the API server through the first Service.
kube -n kube-system rollout status deployment/coredns --timeout=180s
api=$(kube get service kubernetes -o jsonpath='{.spec.clusterIP}')
kube -n kube-system get service dns-metrics >/dev/null 2>&1 ||
	kube -n kube-system expose deployment coredns --name=dns-metrics --type=NodePort --port=9153
port=$(kube -n kube-system get service dns-metrics -o jsonpath='{.spec.ports[0].nodePort}')
for node in $(kind get nodes --name "$cluster"); do
	address=$(kube get node "$node" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}')
	try "$node: health" on "$node" http://127.0.0.1:10256/healthz
	try "$node: ClusterIP $api" on "$node" "https://$api/version"
	try "$node: NodePort $port, asked from the control plane" on "$cluster-control-plane" "http://$address:$port/metrics"
done
echo "The cluster is $context; deploy/kind/up.sh down removes it."
