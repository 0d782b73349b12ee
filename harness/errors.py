"""What the harness raises on purpose, in one tree, so that a test report names its own fault apart from a
product's.

`Missing` is for what a machine lacks (no Docker, no Go): `harness.strict` decides whether that skips or
fails. Everything else fails the test that met it.
"""


class HarnessError(Exception):
    """Something in the harness or its surroundings went wrong; the text says what and what was expected."""


class Missing(HarnessError):
    """This machine cannot provide what was asked for; the text says what would change that."""


class BuildFailed(HarnessError):
    """A build or an installation ended with an error; the text carries the tail of its log."""


class AgentFailed(HarnessError):
    """The agent inside a machine refused a command, or is gone."""


class ExecTimedOut(HarnessError):
    """A command did not end within its time and was killed."""


class NotAnswering(HarnessError):
    """A source of facts (a client's LocalAPI) cannot be read at the moment; waiting may help."""


class Unsupported(HarnessError):
    """A server, client or backend cannot do this; the text names what it lacks. See harness/outcomes.py."""


class NotOffered(Unsupported):
    """A declared limit of the server, client or backend that was chosen, known before anything was tried."""


class NotReached(HarnessError):
    """A condition did not come true, or did not stay true, within its budget."""
