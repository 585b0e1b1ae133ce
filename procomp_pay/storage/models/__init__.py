"""Tables, column types, and a few conditions in SQL that several repositories share."""
