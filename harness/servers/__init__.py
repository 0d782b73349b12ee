"""Control servers under test: ours in process or as a process, or any image with the `headscale` command."""
