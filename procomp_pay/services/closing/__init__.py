"""The closing of a day: steps, figures of both sides, signatures."""
