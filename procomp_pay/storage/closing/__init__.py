"""The closing of a day: its row, and the figures that the reports do not have."""
