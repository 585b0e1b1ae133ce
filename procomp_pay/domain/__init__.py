"""The pure part: money, states, facts, rules and errors. Standard library alone, no I/O."""
