"""People prove who they are at an identity provider (OpenID Connect), and their device is in."""
