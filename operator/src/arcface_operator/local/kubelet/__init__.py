"""Pod manifests as processes of this machine: what a node's kubelet does in a cluster."""
