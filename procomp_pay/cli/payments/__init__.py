"""One payment: initiate, status, watch, cancel; and the lists of them."""
