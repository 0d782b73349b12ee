"""The control protocol's wire types, by noun.

Each struct carries exactly the JSON names that Go's tailcfg uses, encodes without `null`, and keeps
"absent" apart from "empty" with `UNSET` where the client gives the two different meanings.
Sources: tailscale.com v1.102.4 tailcfg; tailscale-rs 0.5 ts_control_serde for what a strict reader needs.
"""
