"""Where it runs: container, KubeRay and ray up files rendered from one small spec."""
