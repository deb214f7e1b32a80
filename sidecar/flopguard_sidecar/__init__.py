"""The sidecar: carries the hook's pages out of the pod as one cumulative mark."""
