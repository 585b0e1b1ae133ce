"""``desk``: one live screen for a clerk's whole job. Only this package imports Textual."""
