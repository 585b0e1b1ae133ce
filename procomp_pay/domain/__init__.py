"""The pure part: money, states, facts, rules and errors. Imports the standard library alone and does no I/O."""
