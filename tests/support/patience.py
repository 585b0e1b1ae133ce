"""How long tests wait for what does come."""

#: Seconds to wait for an answer, a process or a screen. Only a test that fails waits so long: on a busy
#: machine what takes a second alone may take a minute.
PATIENCE_S = 240.0
