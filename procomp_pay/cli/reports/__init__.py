"""Reports and closing sheets: figures, tables, and the files they are written to."""
