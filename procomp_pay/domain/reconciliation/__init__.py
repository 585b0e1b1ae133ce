"""Pure rules that compare our books with a provider's."""
